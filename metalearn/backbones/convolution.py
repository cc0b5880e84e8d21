"""Memory layout of convolutional networks, and the convolution of the residual ones."""

import torch
from torch import Tensor, nn


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
