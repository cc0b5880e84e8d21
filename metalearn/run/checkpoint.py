"""Checkpoints: which run wrote them, and whether their weights fit."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn

from metalearn.run.checkpoint_file import best_of, read_checkpoint, read_origin


class Provenance(pl.Callback):
    """Write into every checkpoint which run it is of; plain containers only, so that it loads with weights_only."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.run = run

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metalearn"] = self.run


def base_classes(path: Path) -> int:
    """Number of classes of the meta-train set of the run that wrote a checkpoint; 0 when it does not say."""
    number: int = read_origin(path).get("num_base_classes", 0)
    return number


def trained_classes(path: Path) -> list[str]:
    """Names of the classes of that meta-train set; none when the checkpoint does not say."""
    names: list[str] = read_origin(path).get("classes", [])
    return names


def load_backbone(path: Path, backbone: nn.Module, name: str) -> None:
    """Put the weights of a checkpoint's backbone, whatever its algorithm, into the backbone of this `name`.

    `path` is of the checkpoint, or of a run directory, whose best one it then is. Raises OSError when there is no such
    file, and ValueError when it holds no such backbone.
    """
    try:
        checkpoint = read_checkpoint(best_of(path))
    except (ValueError, OSError) as error:
        raise type(error)(f"pretrained: {error}") from error
    held, state = checkpoint["metalearn"], checkpoint["state_dict"]
    if any(key.startswith("algorithm.norms.") for key in state):
        raise ValueError(f"pretrained={path} comes from {held['algorithm']} and has a batch normalisation for each inner step: choose another")
    theirs = {key.partition(".backbone.")[2]: value for key, value in state.items() if ".backbone." in key}
    if different := _difference(theirs, backbone.state_dict()):
        both = f"holds the backbone {held['backbone']}, the config builds {name}"
        raise ValueError(f"pretrained={path} {both}: they differ in {different}")
    backbone.load_state_dict(theirs)


def load(path: Path, module: nn.Module, choices: dict[str, str]) -> dict[str, Any]:
    """Put the weights of a checkpoint into the module that `choices` describe, and return all that it holds.

    Raises ValueError when it is damaged, or of another architecture: by the names of weights, then by their shapes.
    """
    checkpoint = read_checkpoint(path)
    fill(module, checkpoint, path, choices)
    return checkpoint


def fill(module: nn.Module, checkpoint: dict[str, Any], path: Path, choices: dict[str, str]) -> None:
    """The same of a checkpoint that was read from `path`."""
    theirs, own = checkpoint["state_dict"], module.state_dict()
    if different := _difference(theirs, own):
        held, built = ("{algorithm} on {backbone}".format(**one) for one in (checkpoint["metalearn"], choices))
        raise ValueError(f"{path} holds {held}, the config builds {built}: they differ in {different}")
    module.load_state_dict(theirs)


def _difference(theirs: dict[str, Tensor], own: dict[str, Tensor]) -> str | None:
    """The first name that only one of two states has, or else the first tensor of another shape."""
    reshaped = {name for name in own.keys() & theirs.keys() if own[name].shape != theirs[name].shape}
    return next(iter(sorted(own.keys() ^ theirs.keys()) + sorted(reshaped)), None)
