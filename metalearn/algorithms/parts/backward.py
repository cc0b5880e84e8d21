"""Gradients of an inner step, and of a batch in the memory of one task."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metalearn.types import Parameters

Tensors = tuple[Tensor, ...]


def mean_over_tasks(
    function: Callable[..., Tensors], tasks: Sequence[Sequence[Tensor]], weights: Sequence[Tensor]
) -> tuple[Tensor, list[Tensors]]:
    """The mean of the losses `function(*task)[0]`, (), and of each task the other results, without a graph.

    The gradient in the weights is taken task by task, so that the graph of one is gone before that of the next is made.
    """
    losses, others = list[Tensor](), list[Tensors]()
    gradient: list[Tensor | None] = [None] * len(weights)
    for task in tasks:
        loss, *rest = function(*task)
        if torch.is_grad_enabled() and weights:
            with torch.autocast(loss.device.type, enabled=False):  # as in any backward pass
                parts = torch.autograd.grad(loss / len(tasks), weights, allow_unused=True)
            gradient = [_sum(*pair) for pair in zip(gradient, parts, strict=True)]
        losses.append(loss.detach())
        others.append(tuple(one.detach() for one in rest))
    return _WithGradient.apply(torch.stack(losses).mean(), gradient, *weights), others


def grad_and_value(function: Callable[[Parameters], Tensor]) -> Callable[[Parameters], tuple[Parameters, Tensor]]:
    """As torch.func.grad_and_value, of a function that gives (), but by torch.autograd where that can be.

    The layers of torch.func take more time in Python than small networks take for their arithmetic, most of all around
    derivatives that are written by hand. Under torch.vmap, torch.compile and inference mode there is no other way.
    """
    transformed = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if transformed or torch.is_inference_mode_enabled():
        return torch.func.grad_and_value(function)

    def derivative(params: Parameters) -> tuple[Parameters, Tensor]:
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            # Names of their own, since one of the params may be computed from another.
            inputs = {
                name: one.view_as(one) if keep and one.requires_grad else one.detach().requires_grad_()
                for name, one in params.items()
            }
            value = function(inputs)
            if inputs and value.requires_grad:
                found = torch.autograd.grad(value, list(inputs.values()), create_graph=keep, materialize_grads=True)
            else:
                found = tuple(map(torch.zeros_like, inputs.values()))
        return dict(zip(inputs, found, strict=True)), value if keep else value.detach()

    return derivative


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


class _WithGradient(torch.autograd.Function):
    """A value whose gradient in the weights is known already; None where it depends on one in no way."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradient: list[Tensor | None], *weights: Tensor) -> Tensor:
        ctx.gradient = gradient
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(grad if grad is None else scale * grad for grad in ctx.gradient)


def autocast_without_cache(kind: str) -> torch.autocast:
    """The autocast of now on a kind of device, but each use of a weight casts it anew.

    Older torch keeps a cast from where there is no graph, and where there is one the weight then gets no gradient.
    """
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return torch.autocast(kind, dtype, enabled, cache_enabled=False)
