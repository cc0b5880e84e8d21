"""Evaluation from embeddings: each image passes the backbone once, for all its episodes."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from metalearn.data.files.cached_tensor import cached_tensor
from metalearn.episodes.seeds import BASE_CLASSES, generator

Embed = Callable[[Tensor], Tensor]
"""Function that embeds each image independently: (B, C, H, W) uint8 -> (B, D)."""

CHUNK = 256
"""Images in one pass: enough to fill a processor, few enough for its memory."""

PROBED = 2
"""Images that are always embedded: a stored file is of a network that embeds them the same."""


def base_rows(rows: Sequence[np.ndarray], per_class: int, *, seed: int) -> Tensor:
    """Selects K rows of each of the C base classes: (C, K), with K at most `per_class`.

    `rows` lists the rows of each class.
    """
    rng = generator(seed, "train", 0, BASE_CLASSES)
    count = min(per_class, *map(len, rows))
    return torch.from_numpy(np.stack([rng.choice(of_class, count, replace=False) for of_class in rows]))


class EmbeddingTable:
    """Embeddings of the images (M, C, H, W) whose numbers are in `rows`.

    A `file` stores them; its name is a function of the embedded rows, and of the first embeddings.
    """

    def __init__(
        self, embed: Embed, images: Tensor, rows: Tensor, file: Callable[[Tensor, Tensor], Path] | None = None
    ) -> None:
        used = torch.unique(rows).to(images.device)
        if file is None:
            self.z = torch.cat([embed(images[chunk]) for chunk in used.split(CHUNK)])  # (used, D)
        else:
            if 2 * len(used) >= len(images):  # then embeds all, which other episodes can use
                used = torch.arange(len(images), device=images.device)
            with torch.no_grad():
                first = embed(images[used[:PROBED]])
            self.z = cached_tensor(file(used, first), lambda: _embed_slowly(embed, images, used)).to(images.device)
        # An image without an embedding has a place beyond the table, and not that of another image.
        self.place = torch.full((len(images),), len(used), device=images.device)
        self.place[used] = torch.arange(len(used), device=images.device)

    def __call__(self, rows: Tensor) -> Tensor:
        """Looks up embeddings by row numbers that are in the table: (T, B) -> (T, B, D)."""
        return self.z[self.place[rows]]


def file_of(folder: Path, weights: str, images: str) -> Callable[[Tensor, Tensor], Path]:
    """Returns the function from rows and their first embeddings to the file of all.

    `weights` and `images` are hashes, on which the embeddings depend too. The first embeddings show
    what no hash of a network can, such as a change of a function that it calls.
    """

    def file(rows: Tensor, first: Tensor) -> Path:
        key = hashlib.sha256(f"{weights} {images} ".encode())
        key.update(rows.cpu().numpy().data)
        key.update(first.cpu().contiguous().view(torch.uint8).numpy().data)
        return folder / f"{key.hexdigest()[:32]}.pt"

    return file


def _embed_slowly(embed: Embed, images: Tensor, rows: Tensor) -> Tensor:
    """Embeds the rows in chunks, with a progress bar, for a network that takes minutes."""
    bar = Console(stderr=True)
    with torch.no_grad():
        chunks = track(rows.split(CHUNK), f"embedding {len(rows):,} images", console=bar, transient=True)
        return torch.cat([embed(images[chunk]) for chunk in chunks])
