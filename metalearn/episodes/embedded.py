"""Evaluation from embeddings: an image goes through the backbone once, in however many episodes it is."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from metalearn.types import SPLITS

Embed = Callable[[Tensor], Tensor]
"""The embeddings of images as bytes, each of which depends on that image alone: (B, C, H, W) uint8 -> (B, D)."""

CHUNK = 256
"""Images that go through the backbone together: enough to fill a processor, few enough for its memory."""


def base_rows(rows: Sequence[np.ndarray], per_class: int, *, seed: int) -> Tensor:
    """Rows of K images of each of the C base classes, whose own rows are given: (C, K), K at most `per_class`."""
    rng = np.random.default_rng([seed, SPLITS.index("train"), 0, 0, 0, 0])  # apart from what draws episodes
    count = min(per_class, *map(len, rows))
    return torch.from_numpy(np.stack([rng.choice(of_class, count, replace=False) for of_class in rows]))


class EmbeddingTable:
    """The embeddings of those of the images (M, C, H, W) whose rows are in `rows`."""

    def __init__(self, embed: Embed, images: Tensor, rows: Tensor) -> None:
        used = torch.unique(rows).to(images.device)
        self.z = torch.cat([embed(images[chunk]) for chunk in used.split(CHUNK)])  # (used, D)
        self.place = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        self.place[used] = torch.arange(len(used), device=images.device)

    def __call__(self, rows: Tensor) -> Tensor:
        """(T, B) rows of the images, all of them in the table -> (T, B, D)."""
        return self.z[self.place[rows]]
