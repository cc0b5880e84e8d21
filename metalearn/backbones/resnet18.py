"""ResNet-18 for the small images of few-shot learning.

Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun. Deep Residual Learning for Image Recognition.
CVPR 2016, arXiv 1512.03385. Chen et al. 2019 (A Closer Look at Few-shot Classification, arXiv
1904.04232) enlarge the images to 224 pixels. For 84 pixels the stem is that of Yan Wang, Wei-Lun
Chao, Kilian Weinberger, Laurens van der Maaten, SimpleShot, 2019, arXiv 1911.04623. It is a 3x3
convolution of stride 1 without pooling, instead of 7x7, stride 2 and max-pooling.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.convolution import channels_last, convolution
from metalearn.backbones.norm import BatchNorm, Rows


class Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(channels_in, channels_out, 3, stride=stride)
        self.norm1 = BatchNorm(channels_out)
        self.conv2 = convolution(channels_out, channels_out, 3)
        self.norm2 = BatchNorm(channels_out)
        # The shortcut is a convolution only where the shape of the maps changes.
        same = stride == 1 and channels_in == channels_out
        self.shortcut = None if same else convolution(channels_in, channels_out, 1, stride=stride)
        self.shortcut_norm = None if same else BatchNorm(channels_out)

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:  # (B, C, H, W) -> (B, C', ⌈H / stride⌉, ⌈W / stride⌉)
        z = F.relu(self.norm1(self.conv1(x), rows))
        z = self.norm2(self.conv2(z), rows)
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x), rows)
        return F.relu(z + x)


class ResNet18(AbstractBackbone):
    """ResNet-18: images (B, C, H, W) of any size -> embeddings (B, D), D = widths[-1].

    An embedding is the mean of each last map.

    Args:
        input_shape: (C, H, W).
        widths: channels of the four stages.
    """

    def __init__(self, input_shape: Sequence[int], *, widths: Sequence[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"resnet18 has four stages: widths={list(widths)} must be four numbers")
        self.stem = convolution(input_shape[0], widths[0], 3)
        self.stem_norm = BatchNorm(widths[0])
        self.blocks = nn.ModuleList()
        channels_in = widths[0]
        for stage, channels in enumerate(widths):
            self.blocks.append(Block(channels_in, channels, stride=1 if stage == 0 else 2))
            self.blocks.append(Block(channels, channels, stride=1))
            channels_in = channels
        self.num_features = widths[-1]
        self.map_shape = (widths[-1], 1, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(channels_last(x)), rows))
        for block in self.blocks:
            x = block(x, rows)
        return x.mean((2, 3))
