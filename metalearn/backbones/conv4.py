"""Conv4, the four-block convolutional network of few-shot learning.

Oriol Vinyals, Charles Blundell, Timothy Lillicrap, Koray Kavukcuoglu, Daan Wierstra. Matching Networks for One Shot
Learning. NeurIPS 2016, arXiv 1606.04080. Each block is a 3x3 convolution, batch normalisation, ReLU and 2x2
max-pooling. The published numbers use 64 channels (Prototypical Networks) or 32 (MAML on miniImageNet) or 48 (MAML++).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.norm import BatchNorm, Rows


class Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        # The normalisation that follows takes any constant away, but the published networks count this bias.
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm = BatchNorm(channels_out)

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:  # (B, C, H, W) -> (B, C', H // 2, W // 2)
        # ReLU after the pooling is the same function as before it, on a quarter of the pixels.
        return F.relu(F.max_pool2d(self.norm(self.conv(x), rows), 2))


class Conv4(nn.Module):
    """Images (B, C, H, W) -> flattened feature maps (B, D), D = channels * (H // 16) * (W // 16)."""

    def __init__(self, input_shape: Sequence[int], *, channels: int = 64) -> None:
        super().__init__()
        colours, height, width = input_shape
        if min(height, width) < 16:
            raise ValueError(f"conv4 halves the image four times: {height}x{width} is below 16x16")
        self.blocks = nn.ModuleList(Block(c, channels) for c in (colours, channels, channels, channels))
        self.num_features = channels * (height // 16) * (width // 16)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what CPU kernels like

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, rows)
        return x.flatten(1)
