"""Facts of a run as its checkpoints hold them, and their keeper, made without a run."""

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch

from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.origin import FACTS, Origin
from metalearn.run.keeper import Keeper


def facts(*overrides: str, **changes: Any) -> dict[str, Any]:
    """Returns the facts of a run of prototypical with these overrides."""
    parts = {"dataset": "glyphs", "algorithm": "prototypical", "backbone": "conv4"}
    return Origin.untrained(**parts, built={}, preparation=None).facts() | {"overrides": [*overrides]} | changes


def write(path: Path, *overrides: str) -> Path:
    """Writes a checkpoint with facts and nothing else, enough for the command line."""
    torch.save({FACTS: facts(*overrides)}, path)
    return path


def keeper(folder: Path, *, selects: bool = True, **changes: Any) -> Keeper:
    """Returns the keeper of a run of accuracies, without data."""
    data = MagicMock(val_name="val" if selects else "train_val", selects=selects)
    data.episodes_sha256.return_value = ""
    return Keeper(RunFolder(folder), Origin(**facts(**changes)), "accuracy", data)
