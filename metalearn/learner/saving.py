"""Fitted learner as a file: a checkpoint with the support set beside its weights.

The file holds no code.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn.files import write_atomically
from metalearn.learner.labels import saved

Examples = Tensor | list[str]
"""Images (S, C, H, W) uint8, or S texts."""


@dataclass(frozen=True)
class SupportSet:
    """Support set of S images or texts, on the host."""

    classes: list[Hashable]
    ways: Tensor  # (S,) int64, way of each image
    features: Tensor  # (S, ...): embeddings where the method needs no more, else pixels or tokens
    examples: Examples | None

    def label(self, row: int) -> Hashable:
        return self.classes[int(self.ways[row])]

    def example(self, row: int) -> np.ndarray | str | None:
        """Returns an image as (H, W, C) uint8, or a text, if examples are kept."""
        if isinstance(self.examples, Tensor):
            return self.examples[row].permute(1, 2, 0).numpy()
        return None if self.examples is None else self.examples[row]


def joined(first: Examples | None, second: Examples | None) -> Examples | None:
    """Joins the examples of two support sets; None if one of them has kept none."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    return [*first, *second] if first is not None and second is not None else None


def write(
    path: Path, checkpoint: dict[str, Any], fitted: SupportSet, *, keep_images: bool, reject: float | None
) -> None:
    """Writes the file of a learner.

    Raises ValueError if labels are neither texts nor numbers, if the features are images that must
    not be kept, or if images to be kept are absent.
    """
    if not keep_images and not fitted.features.is_floating_point():
        kind = "texts" if isinstance(fitted.examples, list) else "images"
        raise ValueError(f"this method predicts from the support {kind} themselves: save with keep_images=True")
    if keep_images and fitted.examples is None:
        raise ValueError("keep_images=True: the file of this learner had none; fit again, or leave keep_images out")
    support = {
        "classes": [saved(label) for label in fitted.classes],
        "ways": fitted.ways,
        "features": fitted.features,
        "images": fitted.examples if keep_images else None,
        "reject": None if reject is None else float(reject),
    }
    write_atomically(path, lambda file: torch.save({**checkpoint, "learner": support}, file))


def read(path: Path, support: Any) -> SupportSet:
    """Reads the support set of a saved learner.

    Raises ValueError, in one line, if it is damaged.
    """
    match support:
        case {
            "classes": [*classes],
            "ways": Tensor() as ways,
            "features": Tensor() as features,
            "images": examples,
            "reject": None | float() as reject,
        }:
            is_kind = examples is None or isinstance(examples, Tensor) or _are_texts(examples)
            lengths = {*map(len, (ways, features, *([] if examples is None or not is_kind else [examples])))}
            has_all = ways.dtype == torch.int64 and set(ways.tolist()) == set(range(len(classes)))
            if is_kind and len(lengths) == 1 and has_all and 0 <= (reject or 0) <= 1:
                return SupportSet(classes, ways, features, examples)
    raise ValueError(f"{path} is damaged: its support set is not what a learner saves")


def _are_texts(examples: Any) -> bool:
    return isinstance(examples, list) and all(isinstance(text, str) for text in examples)
