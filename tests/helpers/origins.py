"""Facts of a run as its checkpoints hold them, made without a run."""

from pathlib import Path
from typing import Any

import torch

from metalearn.run.directory.origin import FACTS, Origin


def facts(*overrides: str, **changes: Any) -> dict[str, Any]:
    """Returns the facts of a run of prototypical with these overrides."""
    origin = Origin(
        dataset="glyphs",
        algorithm="prototypical",
        backbone="conv4",
        overrides=[*overrides],
        built={},
        preparation=None,
        num_base_classes=0,
        classes=[],
        vocabulary=None,
        columns=[],
        settings={},
        restored={},
        accumulate_grad_batches=1,
    )
    return origin.facts() | changes


def write(path: Path, *overrides: str) -> Path:
    """Writes a checkpoint with facts and nothing else, enough for the command line."""
    torch.save({FACTS: facts(*overrides)}, path)
    return path
