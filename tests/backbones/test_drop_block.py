"""DropBlock: shape and rate of the drops."""

import math

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

from metalearn.backbones.norm import Rows
from metalearn.backbones.resnet12 import ResNet12, drop_block


def test_drop_block_drops_squares_of_the_map_at_the_rate() -> None:
    torch.manual_seed(0)
    dropped = drop_block(torch.ones(200, 50, 10, 10), 0.1, 3) == 0
    # The squares of eq. 1 overlap, so slightly less than the rate is dropped.
    assert 0.09 < dropped.float().mean() < 0.1
    # Each dropped unit is in a dropped square of 3 x 3 inside the map, so opening the mask changes
    # nothing.
    mask = dropped.float()
    corners = -F.max_pool2d(-mask, 3, stride=1)
    assert torch.equal(F.max_pool2d(F.pad(corners, [2, 2, 2, 2]), 3, stride=1), mask)
    assert not dropped.flatten(2).all(2).any()


@pytest.mark.parametrize("size", [5, 9])
def test_drop_block_of_the_size_of_the_map_drops_channels(size: int) -> None:
    torch.manual_seed(0)
    dropped = (drop_block(torch.ones(400, 100, 5, 5), 0.1, size) == 0).flatten(2)
    assert torch.equal(dropped.any(2), dropped.all(2))
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / 40_000))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_drop_block_keeps_the_sum_of_ones(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(100, 64, 10, 10, dtype=dtype)  # more units than float16 can count
    z = drop_block(x, 0.1, 5)
    assert z.dtype == dtype
    assert z.float().mean().item() == pytest.approx(1, abs=5e-3)
    # Case without remaining units.
    assert torch.isfinite(drop_block(torch.ones(1, 1, 1, 1), 0.999, 1)).all()


def test_dropping_is_of_training_alone_and_follows_torchs_seed() -> None:
    backbone = ResNet12([1, 32, 32], widths=(8, 8, 8, 8), drop_rate=0.3)
    x = torch.rand(4, 1, 32, 32)

    def embed(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return backbone(x, Rows())

    backbone.train()
    assert torch.equal(embed(0), embed(0))
    assert not torch.equal(embed(0), embed(1))
    backbone.eval()
    assert torch.equal(embed(0), embed(1))
    without = ResNet12([1, 32, 32], widths=(8, 8, 8, 8), drop_rate=0).train()
    without.load_state_dict(backbone.state_dict())
    assert torch.equal(without(x, Rows()), embed(0))


def test_under_vmap_each_task_can_draw_its_own() -> None:
    backbone = ResNet12([1, 32, 32], widths=(8, 8, 8, 8), drop_rate=0.3).train()
    x = torch.rand(4, 1, 32, 32).expand(2, -1, -1, -1, -1)
    first, second = vmap(lambda x: backbone(x, Rows()), randomness="different")(x)
    assert not torch.equal(first, second)
