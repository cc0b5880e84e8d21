"""Backbones against the published numbers of parameters and features."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from metalearn.backbones.base import checked
from metalearn.backbones.conv4 import Conv4
from metalearn.backbones.mlp import MLP
from metalearn.backbones.resnet12 import ResNet12
from metalearn.backbones.resnet18 import ResNet18
from metalearn.backbones.wide_resnet import WideResNet

# Each block has channels_in * channels * 9 weights + channels biases + 2 * channels of
# normalisation.
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


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("make", [Conv4, ResNet12, ResNet18, partial(WideResNet, depth=10, width=1)])
def test_all_maps_have_one_layout_whatever_that_of_the_weights(make: Callable[..., nn.Module], colours: int) -> None:
    backbone = make([colours, 16, 16])
    maps = list[torch.Tensor]()
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: maps.append(output))
    x = torch.rand(2, colours, 16, 16)
    backbone(x)
    # An inner step moves weights by gradients, whose layout the convolution chooses.
    moved = {name: w - 0.1 * torch.ones_like(w, memory_format=torch.contiguous_format)
             for name, w in backbone.named_parameters()}  # fmt: skip
    functional_call(backbone, moved, (x,))
    assert maps
    assert all(feature_map.is_contiguous(memory_format=torch.channels_last) for feature_map in maps)


@pytest.mark.parametrize(("pools", "map_shape"), [(4, (8, 1, 2)), (2, (8, 7, 8)), (1, (8, 14, 17)), (0, (8, 28, 35))])
def test_conv4_pools_in_its_first_blocks_only(pools: int, map_shape: tuple[int, int, int]) -> None:
    backbone = Conv4([1, 28, 35], channels=8, pools=pools)
    assert backbone.map_shape == map_shape
    x = torch.rand(3, 1, 28, 35)
    z, expected = backbone(x), x
    for depth, block in enumerate(backbone.blocks):
        expected = torch.relu(torch.nn.functional.conv2d(expected, block.conv.weight, block.conv.bias, padding=1))
        expected = expected / (1 + 1e-5) ** 0.5
        if depth < pools:
            expected = torch.nn.functional.max_pool2d(expected, 2)
    torch.testing.assert_close(z.unflatten(1, backbone.map_shape), expected)


@pytest.mark.parametrize("backbone", [Conv4([3, 33, 50]), Conv4([3, 33, 50], pools=2), MLP([1, 28, 28])])
def test_map_shape_is_what_was_flattened(backbone: Conv4 | MLP) -> None:
    assert math.prod(backbone.map_shape) == backbone.num_features
    assert len(backbone.map_shape) == 3


def test_sizes_may_be_numbers_of_numpy() -> None:
    backbone = Conv4([3, 33, 50], channels=np.int64(2))
    assert backbone.num_features == 2 * 2 * 3
    assert checked(backbone) is backbone


def test_conv4_refuses_what_it_would_halve_to_nothing() -> None:
    with pytest.raises(ValueError, match="15x40 is below 16x16"):
        Conv4([1, 15, 40])
    with pytest.raises(ValueError, match="halves the image 2 times, and 3x40 is below 4x4: type backbone.pools=1"):
        Conv4([1, 3, 40], pools=2)
    assert Conv4([1, 15, 40], pools=3).map_shape == (64, 1, 5)
    with pytest.raises(ValueError, match="takes images"):
        Conv4([1])


@pytest.mark.parametrize("pools", [-1, 5])
def test_conv4_refuses_other_numbers_of_pools(pools: int) -> None:
    with pytest.raises(ValueError, match=f"pools={pools} must be in 0..4"):
        Conv4([1, 28, 28], pools=pools)


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
