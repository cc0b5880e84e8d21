"""The convolutions that the residual networks have in common."""

from torch import nn


def convolution(channels_in: int, channels_out: int, size: int, *, stride: int = 1) -> nn.Conv2d:
    """A convolution of `size` x `size` that keeps the size of the maps, but for its stride.

    Without a bias, because a normalisation follows it. The weights are drawn as the few-shot code of all three
    networks draws them: normal, of variance 2 / (size² channels_out) (He et al. 2015, arXiv 1502.01852, eq. 14).
    """
    layer = nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
