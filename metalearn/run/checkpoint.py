"""Checkpoints: which run wrote them, and whether their weights fit."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn


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


def base_classes(path: Path) -> int:
    """Number of classes of the meta-train set of the run that wrote a checkpoint; 0 when it does not say."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["metalearn"].get("num_base_classes", 0)


def trained_classes(path: Path) -> list[str]:
    """Names of the classes of that meta-train set; none when the checkpoint does not say."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["metalearn"].get("classes", [])


def load_backbone(path: Path, backbone: nn.Module, name: str) -> None:
    """Put the weights of a checkpoint's backbone, whatever its algorithm, into the backbone of this `name`.

    Raises OSError when there is no such file, and ValueError when it holds no such backbone.
    """
    if not path.is_file():
        raise FileNotFoundError(f"pretrained={path}: there is no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        held, state = checkpoint["metalearn"], checkpoint["state_dict"]
    except Exception as error:  # whatever a file that is no checkpoint makes torch raise
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"pretrained={path} is not a checkpoint of metalearn: {why}") from error
    if any(key.startswith("algorithm.norms.") for key in state):
        raise ValueError(f"pretrained={path} is of {held['algorithm']} with a batch normalisation for each inner step")
    theirs = {key.partition(".backbone.")[2]: value for key, value in state.items() if ".backbone." in key}
    if different := _difference(theirs, backbone.state_dict()):
        both = f"holds the backbone {held['backbone']}, the config builds {name}"
        raise ValueError(f"pretrained={path} {both}: they differ in {different}")
    backbone.load_state_dict(theirs)


def load(path: Path, module: nn.Module, choices: dict[str, str]) -> dict[str, Any]:
    """Put the weights of a checkpoint into the module that `choices` describe, and return all that it holds.

    Raises ValueError when it is of another architecture: by the names of weights, then by their shapes.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    theirs, own = checkpoint["state_dict"], module.state_dict()
    if different := _difference(theirs, own):
        held, built = ("{algorithm} on {backbone}".format(**one) for one in (checkpoint["metalearn"], choices))
        raise ValueError(f"{path} holds {held}, the config builds {built}: they differ in {different}")
    module.load_state_dict(theirs)
    return checkpoint


def _difference(theirs: dict[str, Tensor], own: dict[str, Tensor]) -> str | None:
    """The first name that only one of two states has, or else the first tensor of another shape."""
    reshaped = {name for name in own.keys() & theirs.keys() if own[name].shape != theirs[name].shape}
    return next(iter(sorted(own.keys() ^ theirs.keys()) + sorted(reshaped)), None)
