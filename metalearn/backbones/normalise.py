"""Batch normalisation by the batch's own moments, with derivatives in closed form.

MAML differentiates the backward pass of every batch normalisation. torch 2.13 does so in more than
fifty operations on whole maps, and wrongly if that pass ran under torch.vmap and had an affine map.
This file needs 12 operations. The third derivative, wrong in torch, is correct as well. There is no
forward-mode derivative.

For one channel of m values, and sums over all of them, with r = (σ² + ε)^(-1/2) and x̂ = r (x - μ):

    y = γ x̂ + β
    backward of y, from g:
        to x: γ r P(g) with P(g) = g - Σg / m - x̂ b / m      to γ: b = Σ g x̂      to β: Σ g
    backward of μ and r, from n and q:
        to x: n / m - q r² x̂ / m
    backward of γ r P(g), b and Σ g, for given μ and r, from v, c and d, with a = Σ v x̂:
        to x̂: h = (c - γ r a / m) g - (γ r b / m) v     to γ: s = r (Σ v g - Σv Σg / m - a b / m)
        to g: γ r P(v) + c x̂ + d    to x: r h    to μ: -r Σ h    to r: (γ s + Σ h x̂) / r
"""

from typing import Any

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


def normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalises each channel over all other axes: (B, C, ...) -> (B, C, ...).

    Raises ValueError if a channel has one value, which would always become the bias, or if the
    number of weights differs from the channels, which the kernel would not notice.
    """
    if not weight.shape == bias.shape == x.shape[1:2]:
        raise ValueError(f"{x.shape[1]} channels do not match {len(weight)} weights and {len(bias)} biases")
    check_values(x, "give more than one row, or train with batch_norm=support")
    if torch.compiler.is_compiling():
        return _formula(x, weight, bias, eps)
    y, _, _ = _Normalise.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]
    return y


def check_values(x: Tensor, remedy: str) -> None:
    """Raises ValueError if a channel of (B, C, ...) has one value, whose deviation is 0."""
    if x.numel() == x.shape[1]:
        needed = "batch normalisation needs more than one value of each channel"
        raise ValueError(f"{needed}, not {tuple(x.shape)}: {remedy}")


def _formula(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Computes the formula for torch.compile, which would miscompile the hand-written derivatives.

    The compiler derives the derivatives itself, and fuses them.
    """
    pixels = [0, *range(2, x.ndim)]
    centred = x - x.mean(pixels, keepdim=True)
    r = (centred.square().mean(pixels, keepdim=True) + eps).rsqrt()
    return centred * (r * _spread(weight, x)) + _spread(bias, x)


class _Normalise(torch.autograd.Function):
    """Function of x, γ and β, with the results y, μ and r."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensors:
        return torch.native_batch_norm(x, weight.contiguous(), bias.contiguous(), None, None, True, 0.0, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], outputs: Tensors) -> None:
        x, weight, _, ctx.eps = inputs
        _, mean, r = outputs
        ctx.save_for_backward(x, weight, mean, r)
        ctx.set_materialize_grads(False)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensors, tuple[int, ...]]:
        return _as_channels(_Normalise, info.batch_size, in_dims, inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, n: Tensor | None, q: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, mean, r = ctx.saved_tensors
        to_x, to_weight, to_bias = _Backward.apply(_or_zeros(g, x), x, weight, mean, r, ctx.eps)  # type: ignore[no-untyped-call]
        if n is not None or q is not None:  # the backward pass has itself been differentiated
            m = x.numel() // x.shape[1]
            slope = -_or_zeros(q, r) * r * r * r / m
            shift = _or_zeros(n, mean) / m - slope * mean
            to_x = torch.addcmul(to_x + _spread(shift, x), x, _spread(slope, x)).to(x.dtype)
        return to_x, to_weight, to_bias, None


class _Backward(torch.autograd.Function):
    """Function of g, x, γ, μ and r, with the gradients in x, γ and β as results."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, eps: float) -> Tensors:
        weight, wanted = weight.contiguous(), [True, True, True]  # the kernel ignores strides
        return torch.ops.aten.native_batch_norm_backward(g, x, weight, None, None, mean, r, True, eps, wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], outputs: Tensors) -> None:
        *tensors, ctx.eps = inputs
        _, b, sum_g = outputs
        ctx.save_for_backward(*tensors, b, sum_g)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensors, tuple[int, ...]]:
        return _as_channels(_Backward, info.batch_size, in_dims, inputs)

    @staticmethod
    def backward(ctx: Any, v: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor | None, ...]:
        g, x, weight, mean, r, b, sum_g = ctx.saved_tensors
        m = x.numel() // x.shape[1]
        projected, a, sum_v = _Backward.apply(v, x, weight, mean, r, ctx.eps)  # type: ignore[no-untyped-call]
        dot = (v * g).sum([0, *range(2, x.ndim)], dtype=r.dtype)
        s = r * (dot - (sum_v * sum_g + a * b) / m)
        k = weight * r / m
        of_g, of_v = c - k * a, -k * b  # h = of_g * g + of_v * v

        cr = c * r
        to_g = torch.addcmul(projected + _spread(d - cr * mean, x), x, _spread(cr, x))
        to_x = torch.addcmul(v * _spread(r * of_v, x), g, _spread(r * of_g, x))
        to_mean = -r * (of_g * sum_g + of_v * sum_v)
        to_r = (weight * s + of_g * b + of_v * a) / r
        return to_g.to(g.dtype), to_x.to(x.dtype), s.to(weight.dtype), to_mean, to_r, None


def _as_channels(
    function: type[torch.autograd.Function], batch_size: int, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]
) -> tuple[Tensors, tuple[int, ...]]:
    """Applies a function to a batch, (T, B, C, ...) or (T, C), as one input with T * C channels."""

    def merged(x: Tensor, batch: int | None) -> Tensor:
        x = x.expand(batch_size, *x.shape) if batch is None else x.movedim(batch, 0)
        channels = 0 if x.ndim == 2 else 1
        return x.movedim(0, channels).flatten(channels, channels + 1)

    *tensors, eps = inputs
    # in_dims also has an entry for eps.
    of_map, *of_channels = function.apply(*map(merged, tensors, in_dims), eps)
    return (
        of_map.unflatten(1, (batch_size, -1)),
        *(value.unflatten(0, (batch_size, -1)) for value in of_channels),
    ), (1, 0, 0)


def _spread(value: Tensor, x: Tensor) -> Tensor:
    """Reshapes one number per channel, (C,), to broadcast with the map x, (B, C, ...)."""
    return value.view(-1, *(1 for _ in x.shape[2:]))


def _or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient
