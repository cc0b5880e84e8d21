"""Evaluation from embeddings: an image goes through the backbone once, in however many episodes it is."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from metalearn.episodes.kept import kept
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
    """The embeddings of those of the images (M, C, H, W) whose rows are in `rows`.

    With a `file`, they are those that it keeps: its name is a function of the rows that are embedded.
    """

    def __init__(
        self, embed: Embed, images: Tensor, rows: Tensor, file: Callable[[Tensor], Path] | None = None
    ) -> None:
        used = torch.unique(rows).to(images.device)
        if file is None:
            self.z = torch.cat([embed(images[chunk]) for chunk in used.split(CHUNK)])  # (used, D)
        else:
            if 2 * len(used) >= len(images):  # then of all images, so that other episodes find theirs too
                used = torch.arange(len(images), device=images.device)
            self.z = kept(file(used), lambda: _embed_slowly(embed, images, used)).to(images.device)
        self.place = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        self.place[used] = torch.arange(len(used), device=images.device)

    def __call__(self, rows: Tensor) -> Tensor:
        """(T, B) rows of the images, all of them in the table -> (T, B, D)."""
        return self.z[self.place[rows]]


def file_of(folder: Path, weights: str, images: str) -> Callable[[Tensor], Path]:
    """Where the embeddings of rows are kept, given what else they are a function of: hashes of weights and images."""

    def file(rows: Tensor) -> Path:
        key = hashlib.sha256(f"{weights} {images} ".encode())
        key.update(rows.cpu().numpy().data)
        return folder / f"{key.hexdigest()[:32]}.pt"

    return file


def _embed_slowly(embed: Embed, images: Tensor, rows: Tensor) -> Tensor:
    """The same as a table does, by a network that takes minutes: with a bar on the terminal."""
    bar = Console(stderr=True)
    with torch.no_grad():
        chunks = track(rows.split(CHUNK), f"embedding {len(rows):,} images", console=bar, transient=True)
        return torch.cat([embed(images[chunk]) for chunk in chunks])
