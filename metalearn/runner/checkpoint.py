"""Checkpoints: which run wrote them, and whether their weights fit."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn


class Provenance(pl.Callback):
    """Write into every checkpoint which run it is of; plain containers only, so that it loads with weights_only."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.run = run

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metalearn"] = self.run

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        # Lightning forgets the best score when the folder has another name now: a run that was moved is the same run.
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            state = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, pl.callbacks.ModelCheckpoint) and state and callback.dirpath:
                before, now = str(state["dirpath"]), str(callback.dirpath)
                state["best_k_models"] = {k.replace(before, now): v for k, v in state["best_k_models"].items()}
                for key in ("dirpath", "best_model_path", "kth_best_model_path", "last_model_path"):
                    state[key] = state[key].replace(before, now)


def load(path: Path, module: nn.Module, choices: dict[str, str]) -> dict[str, Any]:
    """Put the weights of a checkpoint into the module that `choices` describe, and return all that it holds.

    Raises ValueError when it is of another architecture: by the names of weights, then by their shapes.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    theirs, own = checkpoint["state_dict"], module.state_dict()
    reshaped = {name for name in own.keys() & theirs.keys() if own[name].shape != theirs[name].shape}
    if different := sorted(own.keys() ^ theirs.keys()) + sorted(reshaped):
        held, built = ("{algorithm} on {backbone}".format(**one) for one in (checkpoint["metalearn"], choices))
        raise ValueError(f"{path} holds {held}, the config builds {built}: they differ in {different[0]}")
    module.load_state_dict(theirs)
    return checkpoint
