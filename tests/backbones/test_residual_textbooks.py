"""Residual backbones against published numbers and textbook networks."""

import math
from collections.abc import Callable

import pytest
import torch
from conftest import composed
from hydra.utils import instantiate
from test_residual_backbones import SMALL, small
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.norm import BatchNorm
from metalearn.backbones.resnet12 import ResNet12
from metalearn.backbones.resnet18 import ResNet18
from metalearn.backbones.wide_resnet import WideResNet

HEAD_OF_CIFAR10 = 640 * 10 + 10
PUBLISHED = [
    # overrides, input shape, parameters, features, millions of parameters in the papers
    (["backbone=resnet12"], (3, 84, 84), 12_424_320, 16_000, 12.4),
    (["backbone=resnet12", "backbone.global_pool=true"], (3, 84, 84), 12_424_320, 640, 12.4),
    (["backbone=resnet12", "backbone.widths=[64,128,256,512]"], (3, 84, 84), 7_996_800, 12_800, 8.0),
    (["backbone=resnet12"], (3, 32, 32), 12_424_320, 2_560, 12.4),  # CIFAR-FS
    (["backbone=resnet12"], (1, 28, 28), 12_423_040, 640, 12.4),
    # He et al. 2016: 11,689,512 with 64 x 7 x 7 x 3 weights in the stem and a head of 1000 classes.
    (["backbone=resnet18"], (3, 84, 84), 11_689_512 - 513_000 - 64 * 3 * (49 - 9), 512, 11.2),
    (["backbone=resnet18"], (1, 28, 28), 11_167_680, 512, 11.2),
    (["backbone=wrn_28_10"], (3, 84, 84), 36_479_194 - HEAD_OF_CIFAR10, 640, 36.5),  # Zagoruyko and Komodakis 2016
    (["backbone=wrn_28_10"], (1, 28, 28), 36_472_496, 640, 36.5),
]


@pytest.fixture(params=list(SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize(("overrides", "shape", "parameters", "features", "millions"), PUBLISHED)
def test_published_sizes(
    overrides: list[str], shape: tuple[int, int, int], parameters: int, features: int, millions: float
) -> None:
    with torch.device("meta"):  # shapes without memory
        backbone = instantiate(composed(*overrides, f"dataset.input_shape={list(shape)}").backbone).eval()
        z = backbone(torch.rand(2, *shape))
    assert z.shape == (2, features)
    assert math.prod(backbone.map_shape) == backbone.num_features == features
    count = sum(p.numel() for p in backbone.parameters())
    assert count == parameters
    assert round(count / 1e6, 1) == millions


def normalised(x: Tensor, norm: BatchNorm) -> Tensor:
    mean, var, weight, bias = (
        tensor[None, :, None, None] for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def textbook_resnet12(backbone: ResNet12, x: Tensor) -> Tensor:
    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.1 * x)

    for block in backbone.blocks:
        z = leaky(normalised(F.conv2d(x, block.convs[0].weight, padding=1), block.norms[0]))
        z = leaky(normalised(F.conv2d(z, block.convs[1].weight, padding=1), block.norms[1]))
        z = normalised(F.conv2d(z, block.convs[2].weight, padding=1), block.norms[2])
        z = z + normalised(F.conv2d(x, block.shortcut.weight), block.shortcut_norm)
        x = F.max_pool2d(leaky(z), 2)
    return x.flatten(1)


def textbook_resnet18(backbone: ResNet18, x: Tensor) -> Tensor:
    x = torch.relu(normalised(F.conv2d(x, backbone.stem.weight, padding=1), backbone.stem_norm))
    for i, block in enumerate(backbone.blocks):
        stride = 2 if i in (2, 4, 6) else 1
        z = torch.relu(normalised(F.conv2d(x, block.conv1.weight, padding=1, stride=stride), block.norm1))
        z = normalised(F.conv2d(z, block.conv2.weight, padding=1), block.norm2)
        if i in (2, 4, 6):
            x = normalised(F.conv2d(x, block.shortcut.weight, stride=2), block.shortcut_norm)
        x = torch.relu(z + x)
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def textbook_wide_resnet(backbone: WideResNet, x: Tensor) -> Tensor:
    x = F.conv2d(x, backbone.stem.weight, padding=1)
    assert len(backbone.blocks) == 12
    for i, block in enumerate(backbone.blocks):
        stride = 2 if i in (4, 8) else 1
        before = torch.relu(normalised(x, block.norm1))
        z = F.conv2d(before, block.conv1.weight, padding=1, stride=stride)
        z = F.conv2d(torch.relu(normalised(z, block.norm2)), block.conv2.weight, padding=1)
        # WRN-28-1 has 16 channels in the stem and in its first group, so only the later groups have
        # a convolution.
        x = z + (F.conv2d(before, block.shortcut.weight, stride=2) if i in (4, 8) else x)
    return F.adaptive_avg_pool2d(torch.relu(normalised(x, backbone.norm)), 1).flatten(1)


TEXTBOOK: dict[str, Callable[..., Tensor]] = {
    "resnet12": textbook_resnet12,
    "resnet18": textbook_resnet18,
    "wrn_28_10": textbook_wide_resnet,
}


def test_it_is_the_textbook_network(name: str) -> None:
    backbone = small(name).double()
    x = torch.rand(3, 1, 35, 33).double()  # odd sizes, where strides and poolings round
    expected = TEXTBOOK[name](backbone, x)
    if name == "resnet12":
        assert expected.shape == (3, 8 * 2 * 2)
    torch.testing.assert_close(backbone(x), expected)


def test_the_first_group_of_wrn_28_10_changes_its_channels() -> None:
    with torch.device("meta"):
        blocks = WideResNet([3, 84, 84]).blocks
    assert [i for i, block in enumerate(blocks) if block.shortcut is not None] == [0, 4, 8]


def test_weights_are_drawn_as_published(name: str) -> None:
    torch.manual_seed(0)
    wide = "backbone.width=2" if name == "wrn_28_10" else "backbone.widths=[32,32,64,64]"
    backbone = instantiate(composed(f"backbone={name}", wide).backbone)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            expected = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            assert module.weight.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * module.weight.numel()))
            assert module.weight.is_contiguous(memory_format=torch.channels_last)
