"""Memory layout of convolutional networks, and their convolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def channels_last(x: Tensor) -> Tensor:  # (B, C, H, W), stored as (B, H, W, C)
    """Copies images into the layout of the weights, in which CPU kernels are faster.

    The copy is unconditional. Images of one channel count as being in either layout; after the
    inner loop has moved the weights, they would continue in the other layout, and the second
    derivatives of MAML would mix the two.
    """
    return x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).permute(0, 3, 1, 2)


def convolution(channels_in: int, channels_out: int, size: int, *, stride: int = 1) -> nn.Conv2d:
    """Builds a convolution of `size` x `size` that keeps the size of the maps, up to its stride.

    It has no bias, because a normalisation follows it. The weights are normal with variance 2 /
    (size² channels_out) (He et al. 2015, arXiv 1502.01852, eq. 14), as in the few-shot code of all
    three networks.
    """
    layer = nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Conv3x3(nn.Conv2d):
    """Convolution of 3 x 3 pixels that keeps the size of the maps: (B, C, H, W) -> (B, C', H, W).

    On a CPU, images of one channel are multiplied as a matrix of patches of nine pixels and a one,
    which the bias multiplies. The kernels of convolutions leave most of a vector register empty
    there: for five images of 28 x 28 pixels, their derivative takes ten times as long.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_channels > 1 or x.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(x)
        assert self.bias is not None
        height, width = x.shape[2:]
        padded = F.pad(x[:, 0], (1, 1, 1, 1))  # (B, H + 2, W + 2)
        pixels = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        patches = torch.stack([*pixels, torch.ones_like(pixels[0])], dim=-1)  # (B, H, W, 10)
        weights = torch.cat([self.weight.flatten(1).t(), self.bias[None]])  # (10, C')
        return (patches @ weights).permute(0, 3, 1, 2)
