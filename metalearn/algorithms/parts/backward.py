"""Gradients of an inner step, and of a batch in the memory of one task."""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metalearn.types import Parameters

Tensors = tuple[Tensor, ...]

Share = Callable[..., list[Any]]
"""Function that divides tasks: (work, tasks) -> the results of work(share), in order."""


def whole(work: Callable[..., Any], tasks: Sequence[Any]) -> list[Any]:
    """Makes one share of all tasks."""
    return [work(tasks)]


def mean_over_tasks(
    function: Callable[..., Tensors], tasks: Sequence[Sequence[Tensor]], weights: Sequence[Tensor], share: Share = whole
) -> tuple[Tensor, list[Tensors]]:
    """Averages the losses `function(*task)[0]`, (), and returns the other results without a graph.

    The gradient in the weights is computed task by task, so that one task's graph is freed before
    the next is built. `share` divides the tasks among threads.
    """

    def total(tasks: Sequence[Sequence[Tensor]]) -> tuple[list[Tensor], list[Tensor | None], list[Tensors]]:
        losses, others = list[Tensor](), list[Tensors]()
        gradient: list[Tensor | None] = [None] * len(weights)
        for task in tasks:
            loss, *rest = function(*task)
            if torch.is_grad_enabled() and weights:
                with torch.autocast(loss.device.type, enabled=False):  # as in any backward pass
                    parts = torch.autograd.grad(loss / num_tasks, weights, allow_unused=True)
                gradient = [_sum(*pair) for pair in zip(gradient, parts, strict=True)]
            losses.append(loss.detach())
            others.append(tuple(value.detach() for value in rest))
        return losses, gradient, others

    num_tasks = len(tasks)
    losses, gradients, others = zip(*share(total, tasks), strict=True)
    gradient = [reduce(_sum, parts) for parts in zip(*gradients, strict=True)]
    mean = torch.stack([*chain(*losses)]).mean()
    return _WithGradient.apply(mean, gradient, *weights), [*chain(*others)]  # type: ignore[no-untyped-call]


def grad_and_value(function: Callable[[Parameters], Tensor]) -> Callable[[Parameters], tuple[Parameters, Tensor]]:
    """Returns torch.func.grad_and_value of a scalar function, by torch.autograd where possible.

    For small networks, the layers of torch.func take more time in Python than the arithmetic does,
    most of all around hand-written derivatives. Under torch.vmap, torch.compile and inference mode,
    torch.func is the only way.
    """
    transformed = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if transformed or torch.is_inference_mode_enabled():
        return torch.func.grad_and_value(function)

    def derivative(params: Parameters) -> tuple[Parameters, Tensor]:
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            # Each input is a separate view, since one of the params may be computed from another.
            inputs = {
                name: value.view_as(value) if keep and value.requires_grad else value.detach().requires_grad_()
                for name, value in params.items()
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
    """Value whose gradient in the weights is given; None where it is independent of a weight."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradient: list[Tensor | None], *weights: Tensor) -> Tensor:
        ctx.gradient = gradient
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(grad if grad is None else scale * grad for grad in ctx.gradient)


def autocast_without_cache(kind: str) -> torch.autocast:
    """Returns the current autocast of a device type, with a new cast at each use of a weight.

    Older torch caches a cast made without a graph, and reuses it where a graph is needed; the
    weight then gets no gradient.
    """
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return torch.autocast(kind, dtype, enabled, cache_enabled=False)
