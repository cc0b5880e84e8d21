"""Wide residual networks; few-shot learning uses WRN-28-10.

Sergey Zagoruyko, Nikos Komodakis. Wide Residual Networks. BMVC 2016, arXiv 1605.07146, table 1:
three groups of blocks, in which normalisation and ReLU precede each convolution. Rusu et al. (LEO),
ICLR 2019, arXiv 1807.05960, and Mangla et al. (S2M2), WACV 2020, arXiv 1907.12087, embed
miniImageNet with it. This version has no dropout.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.base import AbstractBackbone, check_image
from metalearn.backbones.convolution import channels_last, convolution
from metalearn.backbones.norm import BatchNorm, Rows


class Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.norm1 = BatchNorm(channels_in)
        self.conv1 = convolution(channels_in, channels_out, 3, stride=stride)
        self.norm2 = BatchNorm(channels_out)
        self.conv2 = convolution(channels_out, channels_out, 3)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = None if same else convolution(channels_in, channels_out, 1, stride=stride)

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:  # (B, C, H, W) -> (B, C', ⌈H / stride⌉, ⌈W / stride⌉)
        active = F.relu(self.norm1(x, rows))
        z = F.relu(self.norm2(self.conv1(active), rows))
        return self.conv2(z) + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(AbstractBackbone):
    """WRN-depth-width: images (B, C, H, W) of any size -> embeddings (B, D), D = 64 * width.

    An embedding is the mean of each last map.

    Args:
        input_shape: (C, H, W).
        depth: number of convolutions on the longest path, plus shortcuts: 6 n + 4 for n blocks in
            each group.
        width: factor of the channels.

    Examples:
        >>> import torch
        >>> WideResNet([3, 32, 32], depth=10, width=1)(torch.zeros(2, 3, 32, 32)).shape  # (B, D)
        torch.Size([2, 64])
    """

    def __init__(self, input_shape: Sequence[int], *, depth: int = 28, width: int = 10) -> None:
        super().__init__()
        check_image(input_shape)
        num_blocks, rest = divmod(depth - 4, 6)
        if rest or num_blocks < 1 or width < 1:
            raise ValueError(f"wide_resnet: depth={depth} must be 10, 16, 22, 28, ... and width={width} at least 1")
        self.stem = convolution(input_shape[0], 16, 3)
        self.blocks = nn.ModuleList()
        channels_in = 16
        for group, channels in enumerate((16 * width, 32 * width, 64 * width)):
            for block in range(num_blocks):
                self.blocks.append(Block(channels_in, channels, stride=2 if group > 0 and block == 0 else 1))
                channels_in = channels
        self.norm = BatchNorm(channels_in)
        self.num_features = channels_in
        self.map_shape = (channels_in, 1, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = self.stem(channels_last(x))
        for block in self.blocks:
            x = block(x, rows)
        return F.relu(self.norm(x, rows)).mean((2, 3))
