"""Gradients in the memory of one task, and of one inner step: what is spent anew is time."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

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
    """As torch.func.grad_and_value, of a function that gives (), where nothing but autograd is at work.

    The layers of torch.func take more time in Python than small networks take for their arithmetic, most of all around
    derivatives that are written by hand. Under torch.vmap and torch.compile there is no way without them.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
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
            found = torch.autograd.grad(value, list(inputs.values()), create_graph=keep, materialize_grads=True)
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


def recomputed(function: Callable[..., Any], arguments: tuple[Any, ...], weights: Sequence[Tensor]) -> Any:
    """`function(*arguments)`, called once more in the backward pass in the place of keeping its graph until then.

    Arguments and results are any nesting of tensors; `weights` are all other tensors that want a gradient from it.
    torch.utils.checkpoint is not for functions that take derivatives by torch.func.
    """
    leaves, structure = tree_flatten(arguments)
    structures = list[TreeSpec]()  # of the results

    def of_leaves(*leaves: Any) -> tuple[Any, ...]:
        results, of_results = tree_flatten(function(*tree_unflatten(leaves, structure)))
        structures.append(of_results)
        return tuple(results)

    results = _Recomputed.apply(of_leaves, len(leaves), *leaves, *weights)
    return tree_unflatten(results, structures[0])


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., tuple[Any, ...]], num_leaves: int, *inputs: Any) -> tuple[Any, ...]:
        ctx.function, ctx.leaves, ctx.weights = function, inputs[:num_leaves], inputs[num_leaves:]
        ctx.device = next(one.device for one in inputs if isinstance(one, Tensor))
        ctx.random = _random_state(ctx.device)
        ctx.autocast = autocast_without_cache(ctx.device.type)
        with ctx.autocast:
            return function(*ctx.leaves)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        leaves = [
            leaf.detach().requires_grad_(leaf.is_floating_point()) if isinstance(leaf, Tensor) else leaf
            for leaf in ctx.leaves
        ]
        with torch.random.fork_rng([ctx.device] if ctx.device.type == "cuda" else []):
            _set_random_state(ctx.device, ctx.random)
            with torch.enable_grad(), ctx.autocast:
                results = ctx.function(*leaves)
        known = [
            (result, gradient)
            for result, gradient in zip(results, gradients, strict=True)
            if gradient is not None and isinstance(result, Tensor) and result.requires_grad
        ]
        inputs = [*leaves, *ctx.weights]
        wanted = [i for i, one in enumerate(inputs) if isinstance(one, Tensor) and one.requires_grad]
        outputs, of_outputs = zip(*known, strict=True)
        found = torch.autograd.grad(outputs, [inputs[i] for i in wanted], of_outputs, allow_unused=True)
        by_input = dict(zip(wanted, found, strict=True))
        return None, None, *(by_input.get(i) for i in range(len(inputs)))


def _random_state(device: torch.device) -> list[Tensor]:
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_device]


def _set_random_state(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)
