"""Loading of the weights of a checkpoint."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from metalearn.data.files.source import named
from metalearn.run.directory.checkpoint_file import best_of, read_checkpoint
from metalearn.run.directory.origin import Origin


class Done(NamedTuple):
    """Training that a resumed checkpoint has done; 0 for a new training."""

    steps: int = 0
    batches: int = 0  # on each device
    tasks: int = 0  # on all devices; a resumption may have other numbers of tasks and devices


def load_backbone(path: Path, backbone: nn.Module, name: str) -> None:
    """Loads the backbone weights of a checkpoint of any algorithm.

    Raises OSError if the file is missing, and ValueError if its backbone differs.

    Args:
        path: checkpoint, or run directory with a best checkpoint.
        backbone: module that receives the weights.
        name: backbone option of the config, for the error.
    """
    with named("pretrained"):
        checkpoint = read_checkpoint(best_of(path))
    origin, state = Origin.of(checkpoint), checkpoint["state_dict"]
    if any(key.startswith("algorithm.norms.") for key in state):
        norms = "a batch normalisation for each inner step: choose another"
        raise ValueError(f"pretrained={path} comes from {origin.algorithm} and has {norms}")
    theirs = {key.partition(".backbone.")[2]: value for key, value in state.items() if ".backbone." in key}
    if different := _difference(theirs, backbone.state_dict()):
        both = f"holds the backbone {origin.backbone}, the config builds {name}"
        raise ValueError(f"pretrained={path} {both}: they differ in {different}")
    backbone.load_state_dict(theirs)


def load(path: Path, module: nn.Module, choices: dict[str, str]) -> dict[str, Any]:
    """Loads the weights of a checkpoint into the module, and returns the checkpoint.

    Raises ValueError if the checkpoint is damaged, or if names or shapes of its weights differ.

    Args:
        path: checkpoint.
        module: module that receives the weights.
        choices: algorithm and backbone of the config, for the error.
    """
    checkpoint = read_checkpoint(path)
    fill(module, checkpoint, path, "{algorithm} on {backbone}".format(**choices))
    return checkpoint


def fill(module: nn.Module, checkpoint: dict[str, Any], path: Path, network: str) -> None:
    """Loads the weights of a checkpoint that was read from `path`. Raises as `load` does.

    `network`: algorithm and backbone of the module, for the error.
    """
    theirs, own = checkpoint["state_dict"], module.state_dict()
    if different := _difference(theirs, own):
        held = Origin.of(checkpoint).network
        raise ValueError(f"{path} holds {held}, the config builds {network}: they differ in {different}")
    module.load_state_dict(theirs)


def _difference(theirs: dict[str, Tensor], own: dict[str, Tensor]) -> str | None:
    """Returns the first name in only one of the states, else the first of two shapes, with both."""
    if single := theirs.keys() ^ own.keys():
        return min(single)
    reshaped = sorted(name for name in own if own[name].shape != theirs[name].shape)
    return next((f"{name}, {[*theirs[name].shape]} and {[*own[name].shape]}" for name in reshaped), None)
