"""Batch normalisation with hand-written derivatives, against torch's from the definition."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

from metalearn.backbones.normalise import normalise

EPS = 1e-5
SHAPES = [(6, 4), (3, 4, 2, 5)]


def definition(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    pixels, shape = [0, *range(2, x.ndim)], (1, -1, *(1 for _ in x.shape[2:]))
    var, mean = torch.var_mean(x, pixels, correction=0, keepdim=True)
    return weight.view(shape) * (x - mean) / (var + eps).sqrt() + bias.view(shape)


def inputs(shape: tuple[int, ...], *batch: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(*batch, *shape), (*batch, shape[1]), (*batch, shape[1])]
    return [torch.randn(size, dtype=torch.float64, generator=generator).requires_grad_() for size in sizes]


def second_derivatives(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """Differentiates the first derivatives, as MAML does, in the map, the scale and the shift."""

    def of_first(*inputs: Tensor) -> Tensor:
        firsts = grad(lambda *inputs: function(*inputs, EPS).pow(3).sum(), argnums=(0, 1, 2))(*inputs)
        return sum(first.pow(2).sum() for first in firsts)

    return grad(of_first, argnums=(0, 1, 2))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_definition_and_so_are_two_derivatives(shape: tuple[int, ...]) -> None:
    at = inputs(shape)
    torch.testing.assert_close(normalise(*at, EPS), definition(*at, EPS))
    torch.testing.assert_close(second_derivatives(normalise)(*at), second_derivatives(definition)(*at))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_three_derivatives_are_those_of_differences(shape: tuple[int, ...]) -> None:
    def first(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(normalise(x, weight, bias, EPS).pow(3).sum(), (x, weight, bias), create_graph=True)

    at = inputs(shape)
    assert gradcheck(lambda *at: normalise(*at, EPS), at)
    assert gradcheck(first, at)
    assert gradgradcheck(first, at)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("in_dims", [(0, 0, 0), (0, None, None), (None, 0, 0)], ids=str)
def test_under_vmap_each_task_is_as_by_itself(shape: tuple[int, ...], in_dims: tuple[int | None, ...]) -> None:
    at = [
        of_all if dim == 0 else of_task
        for dim, of_all, of_task in zip(in_dims, inputs(shape, 5), inputs(shape), strict=True)
    ]
    alone = [
        [tensor[task] if dim == 0 else tensor for dim, tensor in zip(in_dims, at, strict=True)] for task in range(5)
    ]
    together = vmap(second_derivatives(normalise), in_dims)(*at)
    for found, task in zip(zip(*together, strict=True), alone, strict=True):
        torch.testing.assert_close(found, second_derivatives(definition)(*task))

    # MAML takes the gradient of all tasks outside the vmap that takes the gradient of each.
    def inner(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        return grad(lambda *inputs: function(*inputs, EPS).pow(3).sum(), argnums=(0, 1, 2))

    total = sum(first.pow(2).sum() for first in vmap(inner(normalise), in_dims)(*at))
    expected = sum(first.pow(2).sum() for task in alone for first in inner(definition)(*task))
    torch.testing.assert_close(torch.autograd.grad(total, at), torch.autograd.grad(expected, at))


@pytest.mark.parametrize("batch", [(), (5,)], ids=["alone", "vmap"])
def test_a_map_in_bf16_goes_with_weights_in_float32(batch: tuple[int, ...]) -> None:
    x, weight, bias = (tensor.detach().float() for tensor in inputs((64, 4, 5, 5), *batch))
    derivatives = [
        (vmap(second_derivatives(function)) if batch else second_derivatives(function))
        for function in (normalise, lambda x, *others: definition(x.float(), *others))
    ]
    found, expected = (gradients(x.bfloat16(), weight, bias) for gradients in derivatives)
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == exact.dtype
        assert (ours.float() - exact.float()).norm() < 0.03 * exact.float().norm()


def test_the_layout_stays() -> None:
    x, weight, bias = inputs((3, 4, 2, 5))
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    y = normalise(x, weight, bias, EPS)
    (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), x)
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (y, first, second))


def test_a_weight_may_have_any_stride() -> None:
    x, _, bias = inputs((3, 4, 2, 5))
    x = x.detach().contiguous(memory_format=torch.channels_last)
    weight = torch.arange(1.0, 9.0, dtype=torch.float64)[::2]
    found, expected = (second_derivatives(function)(x, weight, bias) for function in (normalise, definition))
    torch.testing.assert_close(found, expected)


def test_weights_for_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="^8 channels do not match 4 weights and 4 biases"):
        normalise(torch.ones(6, 8, 2, 2), torch.ones(4), torch.zeros(4), EPS)


def test_one_value_of_a_channel_has_no_variance() -> None:
    message = "not \\(1, 4, 1, 1\\): give more than one row, or train with batch_norm=support$"
    with pytest.raises(ValueError, match=message):
        normalise(torch.ones(1, 4, 1, 1), torch.ones(4), torch.zeros(4), EPS)
