"""What convolutional networks share: the layout of their maps; and the convolutions of the residual ones."""

import torch
from torch import Tensor, nn


def channels_last(x: Tensor) -> Tensor:  # (B, C, H, W), which is (B, H, W, C) in memory
    """The images in the layout of the networks' weights, which CPU kernels like.

    Always a copy: images of one channel count as being in either layout, and would go on in the other one wherever the
    inner loop has moved the weights, so that the second derivatives of MAML had to mix the two.
    """
    return x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).permute(0, 3, 1, 2)


def convolution(channels_in: int, channels_out: int, size: int, *, stride: int = 1) -> nn.Conv2d:
    """A convolution of `size` x `size` that keeps the size of the maps, but for its stride.

    Without a bias, because a normalisation follows it. The weights are drawn as the few-shot code of all three
    networks draws them: normal, of variance 2 / (size² channels_out) (He et al. 2015, arXiv 1502.01852, eq. 14).
    """
    layer = nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
