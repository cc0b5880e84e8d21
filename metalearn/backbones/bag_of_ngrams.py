"""Hashed counts of tokens and their neighbours: a baseline without weights.

Kilian Weinberger et al. Feature Hashing for Large Scale Multitask Learning. ICML 2009, arXiv
0902.2206. Each n-gram adds 1 or -1, by a hash, to a place that another hash names. On average over
hashes, inner products equal those of the counts.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.backbones.base import AbstractBackbone, check_positive
from metalearn.backbones.embedding import needed, token_mask
from metalearn.backbones.norm import Rows

PRIME, MIX = 1_000_003, 2_654_435_761  # rolling hash of an n-gram; 2 ** 32 over the golden ratio (Knuth)


class BagOfNgrams(AbstractBackbone):
    """Bag of n-grams: ids of tokens (B, L) -> hashed counts of length 1 (B, D), D = width.

    Args:
        num_tokens: number of ids.
        width: number of places that the n-grams share.
        longest: number of tokens of the longest n-gram; shorter ones count too.

    Examples:
        >>> bag = BagOfNgrams(num_tokens=100, width=64)
        >>> bag(torch.tensor([[3, 7, 7, 0]])).shape  # one text of three tokens; (B, D)
        torch.Size([1, 64])
    """

    def __init__(self, num_tokens: int | None, *, width: int = 4096, longest: int = 2) -> None:
        super().__init__()
        needed(num_tokens)
        check_positive(longest=longest, width=width)
        self.longest = longest
        self.num_features = width
        self.map_shape = (width, 1, 1)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        counts = torch.zeros(len(x), self.num_features, device=x.device)  # (B, D)
        key = torch.zeros_like(x, dtype=torch.int64)  # (B, L)
        for length in range(min(self.longest, x.shape[1])):
            following = x[:, length:].long()  # (B, L - length)
            key = (key[:, : following.shape[1]] * PRIME + following) * MIX & 0xFFFFFFFF
            sign = 1.0 - 2.0 * (key >> 31)  # (B, L - length)
            counts = counts.scatter_add(1, key % self.num_features, sign * token_mask(following))
        return F.normalize(counts, dim=1)
