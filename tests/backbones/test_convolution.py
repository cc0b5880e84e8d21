"""The convolution of 3 x 3 pixels against torch's."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, vmap

from metalearn.backbones.convolution import Conv3x3, channels_last

COLOURS = [1, 3]


def images(colours: int, *batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*batch, 4, colours, 5, 7, dtype=torch.float64, generator=generator)


def torch_s(layer: Conv3x3, x: Tensor) -> Tensor:
    return torch.conv2d(x, layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("colours", COLOURS)
def test_it_is_the_convolution_of_torch_and_so_are_its_derivatives(colours: int) -> None:
    layer, x = Conv3x3(colours, 6).double(), images(colours)
    weights = tuple(layer.parameters())
    ours, theirs = layer(x), torch_s(layer, x)
    torch.testing.assert_close(ours, theirs)
    firsts, of_torch = (torch.autograd.grad(y.pow(3).sum(), weights) for y in (ours, theirs))
    torch.testing.assert_close(firsts, of_torch)

    def with_weights(*weights: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(("weight", "bias"), weights, strict=True)), x)

    assert gradcheck(with_weights, weights)
    assert gradgradcheck(with_weights, weights)


@pytest.mark.parametrize("colours", COLOURS)
def test_maps_have_the_layout_of_the_next_convolution(colours: int) -> None:
    layer = Conv3x3(colours, 6).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert layer(channels_last(images(colours))).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("colours", COLOURS)
def test_under_vmap_each_task_has_its_own_weights(colours: int) -> None:
    layer, x = Conv3x3(colours, 6).double(), images(colours, 3)
    weights = {name: torch.stack([weight, 2 * weight, -weight]) for name, weight in layer.state_dict().items()}
    together = vmap(lambda weights, x: functional_call(layer, weights, x))(weights, x)
    for task in range(3):
        alone = functional_call(layer, {name: weight[task] for name, weight in weights.items()}, x[task])
        torch.testing.assert_close(together[task], alone)


@pytest.mark.parametrize("colours", COLOURS)
def test_autocast_computes_in_the_narrow_type(colours: int) -> None:
    layer, x = Conv3x3(colours, 6), images(colours).float()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), torch_s(layer, x), rtol=0.02, atol=0.02)
