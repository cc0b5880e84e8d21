"""Facts of a run as its checkpoints hold them, made without a run."""

from pathlib import Path
from typing import Any

import torch

from metalearn.run.directory.origin import FACTS, Origin


def facts(*overrides: str, **changes: Any) -> dict[str, Any]:
    """Returns the facts of a run of prototypical with these overrides."""
    parts = {"dataset": "glyphs", "algorithm": "prototypical", "backbone": "conv4"}
    return Origin.untrained(**parts, built={}, preparation=None).facts() | {"overrides": [*overrides]} | changes


def write(path: Path, *overrides: str) -> Path:
    """Writes a checkpoint with facts and nothing else, enough for the command line."""
    torch.save({FACTS: facts(*overrides)}, path)
    return path
