"""ResNet-12 of few-shot learning.

Kwonjoon Lee, Subhransu Maji, Avinash Ravichandran, Stefano Soatto. Meta-Learning with
Differentiable Convex Optimization (MetaOptNet). CVPR 2019, arXiv 1904.03758, section 4.1 and the
authors' code. Four residual blocks of three 3x3 convolutions, each block ending in 2x2 max-pooling.
The narrower widths are those of Oreshkin et al. (TADAM), NeurIPS 2018, arXiv 1805.10123. Lee et al.
increase the rate of DropBlock over 40,000 steps; here it is constant.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.base import AbstractBackbone, check_image, check_positive
from metalearn.backbones.convolution import channels_last, convolution
from metalearn.backbones.norm import BatchNorm, Rows

SLOPE = 0.1  # negative slope of the leaky ReLU (Lee et al. 2019)


class Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, *, drop_rate: float, block_size: int | None) -> None:
        super().__init__()
        widths = [channels_in, channels_out, channels_out]
        self.convs = nn.ModuleList(convolution(widths[i], channels_out, 3) for i in range(3))
        self.norms = nn.ModuleList(BatchNorm(channels_out) for _ in range(3))
        self.shortcut = convolution(channels_in, channels_out, 1)
        self.shortcut_norm = BatchNorm(channels_out)
        self.drop_rate, self.block_size = drop_rate, block_size

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:  # (B, C, H, W) -> (B, C', H // 2, W // 2)
        shortcut = self.shortcut_norm(self.shortcut(x), rows)
        for depth, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x), rows)
            x = x + shortcut if depth == 2 else F.leaky_relu(x, SLOPE)
        # The leaky ReLU is increasing, so applying it after the pooling gives the same result on a
        # quarter of the pixels.
        x = F.leaky_relu(F.max_pool2d(x, 2), SLOPE)
        if not self.training or self.drop_rate == 0:
            return x
        return (
            F.dropout(x, self.drop_rate) if self.block_size is None else drop_block(x, self.drop_rate, self.block_size)
        )


class ResNet12(AbstractBackbone):
    """ResNet-12: images (B, C, H, W) -> embeddings (B, D).

    D is widths[-1] * (H // 16) * (W // 16), or widths[-1] with global pooling.

    Args:
        input_shape: (C, H, W).
        widths: channels of the four blocks.
        drop_rate: probability that a unit is dropped in training. The first two blocks drop single
            units, the last two drop squares.
        block_size: side of a square, in pixels of the map.
        global_pool: whether the embedding is the mean of each last map.

    Examples:
        >>> import torch
        >>> resnet12 = ResNet12([3, 32, 32], widths=[8, 16, 24, 32])
        >>> resnet12(torch.zeros(2, 3, 32, 32)).shape  # (B, D)
        torch.Size([2, 128])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        *,
        widths: Sequence[int] = (64, 160, 320, 640),
        drop_rate: float = 0.1,
        block_size: int = 5,
        global_pool: bool = False,
    ) -> None:
        super().__init__()
        check_image(input_shape)
        if len(widths) != 4:
            raise ValueError(f"resnet12 has four blocks: widths={list(widths)} must be four numbers")
        check_positive(widths=widths)
        if not 0 <= drop_rate < 1 or block_size < 1:
            raise ValueError(f"resnet12: drop_rate={drop_rate} must be in [0, 1) and block_size={block_size} positive")
        colours, height, width = input_shape
        if min(height, width) < 16:
            small = f"{height}x{width} is below 16x16"
            raise ValueError(f"resnet12 halves the image 4 times, and {small}: use backbone=resnet18")
        channels = [colours, *widths]
        self.blocks = nn.ModuleList(
            Block(*channels[i : i + 2], drop_rate=drop_rate, block_size=None if i < 2 else block_size) for i in range(4)
        )
        self.global_pool = global_pool
        self.map_shape = (widths[-1], 1, 1) if global_pool else (widths[-1], height // 16, width // 16)
        self.num_features = math.prod(self.map_shape)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = channels_last(x)
        for block in self.blocks:
            x = block(x, rows)
        return x.mean((2, 3)) if self.global_pool else x.flatten(1)


def drop_block(x: Tensor, rate: float, size: int) -> Tensor:
    """DropBlock: zeroes squares of `size` x `size` in maps (B, C, H, W), and rescales the rest.

    Golnaz Ghiasi, Tsung-Yi Lin, Quoc Le. DropBlock: A regularization method for convolutional
    networks. NeurIPS 2018, arXiv 1810.12890, algorithm 1. A square is at most as large as the map.
    """
    height, width = x.shape[2:]
    size = min(size, height, width)
    inside = height - size + 1, width - size + 1  # possible positions of a square's corner
    gamma = rate / size**2 * (height * width) / math.prod(inside)  # eq. 1
    # The draw is in float32 for any x: lower precisions can neither represent so small a
    # probability nor sum so many units.
    corners = torch.rand(*x.shape[:2], *inside, device=x.device, dtype=torch.float32) < gamma  # (B, C, h, w)
    kept = 1 - F.max_pool2d(F.pad(corners.float(), 4 * [size - 1]), size, stride=1)  # (B, C, H, W)
    return x * (kept * (kept.numel() / kept.sum().clamp(min=1))).to(x.dtype)
