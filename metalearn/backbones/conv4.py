"""Conv4, the four-block convolutional network of few-shot learning.

Oriol Vinyals, Charles Blundell, Timothy Lillicrap, Koray Kavukcuoglu, Daan Wierstra. Matching
Networks for One Shot Learning. NeurIPS 2016, arXiv 1606.04080. Each block is a 3x3 convolution,
batch normalisation, ReLU and 2x2 max-pooling. The published numbers use 64 channels (Prototypical
Networks), 32 (MAML on miniImageNet) or 48 (MAML++).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.base import AbstractBackbone, check_image, check_positive
from metalearn.backbones.convolution import channels_last
from metalearn.backbones.norm import BatchNorm, Rows, freeze_network


class Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, *, pool: bool) -> None:
        super().__init__()
        # The normalisation cancels this bias, but the published parameter counts include it.
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm = BatchNorm(channels_out)
        self.pool = pool

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:  # (B, C, H, W) -> (B, C', H // 2, W // 2)
        x = self.norm(self.conv(x), rows)
        # ReLU after the pooling gives the same result on a quarter of the pixels.
        return F.relu(F.max_pool2d(x, 2) if self.pool else x)


class Conv4(AbstractBackbone):
    """Conv4: images (B, C, H, W) -> flattened feature maps (B, D).

    D is channels * (H // 2 ** pools) * (W // 2 ** pools).

    Args:
        input_shape: (C, H, W).
        channels: number of channels of each block.
        pools: number of blocks, from the first, that halve the image.
        freeze: whether the weights and the averages of batch normalisation are constant.

    Examples:
        >>> import torch
        >>> conv4 = Conv4([1, 28, 28])
        >>> conv4(torch.zeros(2, 1, 28, 28)).shape  # (B, D)
        torch.Size([2, 64])
        >>> conv4.map_shape
        (64, 1, 1)
    """

    def __init__(self, input_shape: Sequence[int], *, channels: int = 64, pools: int = 4, freeze: bool = False) -> None:
        super().__init__()
        check_image(input_shape)
        if not 0 <= pools <= 4:
            raise ValueError(f"conv4 has four blocks: pools={pools} must be in 0..4")
        check_positive(channels=channels)
        colours, height, width = input_shape
        scale = 2**pools
        if min(height, width) < scale:
            most = min(height, width).bit_length() - 1
            small = f"{height}x{width} is below {scale}x{scale}"
            raise ValueError(f"conv4 halves the image {pools} times, and {small}: type backbone.pools={most}")
        widths = [colours] + 4 * [channels]
        self.blocks = nn.ModuleList(Block(*widths[i : i + 2], pool=i < pools) for i in range(4))
        self.map_shape = (channels, height // scale, width // scale)
        self.num_features = math.prod(self.map_shape)
        if freeze:
            freeze_network(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = channels_last(x)
        for block in self.blocks:
            x = block(x, rows)
        return x.flatten(1)
