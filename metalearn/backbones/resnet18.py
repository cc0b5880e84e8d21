"""ResNet-18 for the small images of few-shot learning.

Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun. Deep Residual Learning for Image Recognition.
CVPR 2016, arXiv 1512.03385. Chen et al. 2019 (A Closer Look at Few-shot Classification, arXiv
1904.04232) enlarge the images to 224 pixels. For 84 pixels the stem is that of Yan Wang, Wei-Lun
Chao, Kilian Weinberger, Laurens van der Maaten, SimpleShot, 2019, arXiv 1911.04623. It is a 3x3
convolution of stride 1 without pooling, instead of 7x7, stride 2 and max-pooling. The stem of
He et al. accepts the weights of torchvision.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.base import AbstractBackbone, check_image, check_positive
from metalearn.backbones.convolution import channels_last, convolution
from metalearn.backbones.norm import BatchNorm, Rows, freeze_network
from metalearn.backbones.pretrained import Input, Preprocessing, projected, reads_files
from metalearn.backbones.torchvision import load_resnet18

INPUT = Input((224, 224), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "bilinear")  # torchvision's


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
    """ResNet-18: images (B, C, H, W) of any size -> embeddings (B, D).

    An embedding is the mean of each last map, or a projection of these means.

    Args:
        input_shape: (C, H, W) of the images of the data set.
        widths: channels of the four stages; without a projection, D is the last.
        stem: 3x3 (stride 1), or 7x7 (stride 2, with max-pooling).
        weights: file of torchvision's resnet18. The network then resizes images to 224 x 224 and
            normalises them.
        pretrained_on: data of these weights.
        freeze: whether all weights except those of the projection are constant.
        projection: width D of a linear layer after the means.

    Examples:
        >>> import torch
        >>> resnet18 = ResNet18([3, 32, 32], widths=[8, 16, 24, 32])
        >>> resnet18(torch.zeros(2, 3, 32, 32)).shape  # (B, D)
        torch.Size([2, 32])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        stem: Literal["3x3", "7x7"] = "3x3",
        weights: str | None = None,
        pretrained_on: str = "imagenet-1k",
        freeze: bool = False,
        projection: int | None = None,
    ) -> None:
        super().__init__()
        check_image(input_shape)
        if len(widths) != 4:
            raise ValueError(f"resnet18 has four stages: widths={list(widths)} must be four numbers")
        check_positive(widths=widths)
        if weights and (stem != "7x7" or list(widths) != [64, 128, 256, 512]):
            raise ValueError("backbone.weights fits the network of He et al.: type backbone.stem=7x7 with its widths")
        self.preprocessing = Preprocessing(input_shape, INPUT) if weights else nn.Identity()
        size, stride = (3, 1) if stem == "3x3" else (7, 2)
        self.stem = convolution(3 if weights else input_shape[0], widths[0], size, stride=stride)
        self.pool = nn.Identity() if stem == "3x3" else nn.MaxPool2d(3, stride=2, padding=1)
        self.stem_norm = BatchNorm(widths[0])
        self.blocks = nn.ModuleList()
        channels_in = widths[0]
        for stage, channels in enumerate(widths):
            self.blocks.append(Block(channels_in, channels, stride=1 if stage == 0 else 2))
            self.blocks.append(Block(channels, channels, stride=1))
            channels_in = channels
        if weights and reads_files():
            load_resnet18(self, Path(weights))
        self.pretrained_on = pretrained_on if weights else None
        if freeze:
            freeze_network(self)
        self.projection = projected(widths[-1], projection)
        self.num_features = projection or widths[-1]
        self.map_shape = (self.num_features, 1, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = self.stem(channels_last(self.preprocessing(x)))
        x = self.pool(F.relu(self.stem_norm(x, rows)))
        for block in self.blocks:
            x = block(x, rows)
        return self.projection(x.mean((2, 3)))
