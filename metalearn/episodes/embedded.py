"""Evaluation from embeddings: each image passes the backbone once, for all its episodes."""

from collections.abc import Callable

import torch
from torch import Tensor

Embed = Callable[[Tensor], Tensor]
"""Function that embeds each image independently: (B, C, H, W) uint8 -> (B, D)."""

CHUNK = 256
"""Images in one pass: enough to fill a processor, few enough for its memory."""


class EmbeddingTable:
    """Embeddings of the images (M, C, H, W) whose numbers are in `rows`."""

    def __init__(self, embed: Embed, images: Tensor, rows: Tensor) -> None:
        used = torch.unique(rows).to(images.device)
        self.z = torch.cat([embed(images[chunk]) for chunk in used.split(CHUNK)])  # (used, D)
        self.place = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        self.place[used] = torch.arange(len(used), device=images.device)

    def __call__(self, rows: Tensor) -> Tensor:
        """Looks up embeddings by row numbers that are in the table: (T, B) -> (T, B, D)."""
        return self.z[self.place[rows]]
