"""Attention, and a transformer layer.

Ashish Vaswani and others. Attention Is All You Need. NeurIPS 2017, arXiv 1706.03762.

L  rows of queries    M  rows of keys    W  width
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Attention with `heads` heads of width / heads numbers each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads={heads} must divide width={width}")
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # (.., L, W), (.., M, W) x 2 -> (.., L, W)
        q, k, v = self.query(query), self.key(key), self.value(value)
        q, k, v = (rows.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for rows in (q, k, v))  # (.., heads, L, W')
        # This is written out, since torch.vmap supports no fused attention on a CPU.
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)  # (.., heads, L, M)  eq. 1
        return self.output((weights @ v).transpose(-3, -2).flatten(-2))


class Layer(nn.Module):
    """Layer of a transformer, without a mask, that normalises before each part.

    The initial weights of what its two parts add are divided by the root of `residuals`, the number
    of additions in the whole transformer (GPT-2).
    """

    def __init__(self, width: int, heads: int, *, residuals: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        first, last = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.network = nn.Sequential(first, nn.GELU(), last)
        with torch.no_grad():
            self.attention.output.weight.div_(residuals**0.5)
            last.weight.div_(residuals**0.5)

    def forward(self, x: Tensor) -> Tensor:  # (.., L, W) -> (.., L, W)
        z = self.before_attention(x)
        x = x + self.attention(z, z, z)
        return x + self.network(self.before_network(x))
