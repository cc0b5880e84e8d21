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


@dataclass(frozen=True)
class Kept:
    """Support set of S images, on the host."""

    classes: list[Hashable]
    ways: Tensor  # (S,) int64, way of each image
    features: Tensor  # (S, ...): embeddings where the method needs no more, else the pixels
    images: Tensor | None  # (S, C, H, W) uint8

    def label(self, row: int) -> Hashable:
        return self.classes[int(self.ways[row])]

    def picture(self, row: int) -> np.ndarray | None:
        """Returns an image as (H, W, C) uint8, if images are kept."""
        return None if self.images is None else self.images[row].permute(1, 2, 0).numpy()


def write(path: Path, checkpoint: dict[str, Any], kept: Kept, *, keep_images: bool) -> None:
    """Writes the file of a learner.

    Raises ValueError if labels are neither texts nor numbers, or if the features are images that
    must not be kept.
    """
    if not keep_images and kept.features.dtype == torch.uint8:
        raise ValueError("this method predicts from the support images themselves: save with keep_images=True")
    support = {
        "classes": [saved(label) for label in kept.classes],
        "ways": kept.ways,
        "features": kept.features,
        "images": kept.images if keep_images else None,
    }
    write_atomically(path, lambda file: torch.save({**checkpoint, "learner": support}, file))


def read(path: Path, support: Any) -> Kept:
    """Reads the support set of a saved learner.

    Raises ValueError, in one line, if it is damaged.
    """
    match support:
        case {"classes": [*classes], "ways": Tensor() as ways, "features": Tensor() as features, "images": images}:
            of_one_length = len({*map(len, (ways, features, *([] if images is None else [images])))}) == 1
            if of_one_length and ways.dtype == torch.int64 and set(ways.tolist()) == set(range(len(classes))):
                return Kept(classes, ways, features, images)
    raise ValueError(f"{path} is damaged: its support set is not what a learner saves")
