"""Backbones against the published numbers of parameters and features."""

from itertools import pairwise

import pytest
import torch

from metalearn.backbones.conv4 import Conv4
from metalearn.backbones.mlp import MLP

# Each block: channels_in * channels * 9 weights + channels biases + 2 * channels of normalisation.
CONV4 = [
    # input shape, channels, parameters, features
    ((1, 28, 28), 64, 111_936, 64),  # Omniglot, Prototypical Networks
    ((3, 84, 84), 64, 113_088, 1600),  # miniImageNet, Prototypical Networks
    ((3, 84, 84), 32, 28_896, 800),  # miniImageNet, MAML
    ((3, 84, 84), 48, 64_080, 1200),  # miniImageNet, MAML++
    ((3, 33, 50), 64, 113_088, 64 * 2 * 3),  # any size
]


@pytest.mark.parametrize(("shape", "channels", "parameters", "features"), CONV4)
def test_conv4(shape: tuple[int, int, int], channels: int, parameters: int, features: int) -> None:
    backbone = Conv4(shape, channels=channels)
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert backbone.num_features == features
    assert backbone(torch.rand(2, *shape)).shape == (2, features)


def test_conv4_is_the_textbook_block_four_times() -> None:
    backbone = Conv4([1, 28, 28], channels=8).eval()
    x = torch.rand(3, 1, 28, 28)
    expected = x
    for block in backbone.blocks:
        expected = torch.nn.functional.conv2d(expected, block.conv.weight, block.conv.bias, padding=1)
        expected = torch.nn.functional.max_pool2d(torch.relu(expected / (1 + 1e-5) ** 0.5), 2)
    torch.testing.assert_close(backbone(x), expected.flatten(1))


def test_conv4_refuses_what_it_would_halve_to_nothing() -> None:
    with pytest.raises(ValueError, match="15x40 is below 16x16"):
        Conv4([1, 15, 40])


def test_mlp() -> None:
    backbone = MLP([1, 28, 28])
    widths = [784, 256, 128, 64, 64]
    weights = sum(a * b + b for a, b in pairwise(widths))
    assert sum(p.numel() for p in backbone.parameters()) == weights + 2 * sum(widths[1:])
    assert backbone(torch.rand(2, 1, 28, 28)).shape == (2, backbone.num_features) == (2, 64)


def test_mlp_without_norm_for_regression() -> None:
    backbone = MLP([1], hidden=[40, 40], norm=False)
    assert sum(p.numel() for p in backbone.parameters()) == (40 + 40) + (40 * 40 + 40)
    with pytest.raises(ValueError, match="at least one hidden layer"):
        MLP([1], hidden=[])
