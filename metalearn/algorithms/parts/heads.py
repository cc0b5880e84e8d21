"""Fits a new head to the frozen embeddings of a support set, for the baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.losses import cross_entropy


@dataclass(frozen=True, kw_only=True)
class HeadFit:
    """Gradient descent with momentum on the mean cross-entropy of all support rows.

    Every step uses all rows, so that their order does not matter. The steps of `torch.optim.SGD`
    are written as functions here, so that torch.vmap fits the heads of many tasks at once. Autocast
    must be off, because it would compute gradients in half precision.

    Args:
        steps: number of steps.
        lr: step size, as the next three of `torch.optim.SGD`.
        momentum: weight of the earlier steps.
        dampening: fraction of the gradient that the momentum leaves out.
        weight_decay: factor of the weights that is added to their gradient.

    Examples:
        >>> x, y = torch.randn(10, 4), torch.eye(5).repeat(2, 1)
        >>> fit = HeadFit(steps=5, lr=0.01, momentum=0.9, dampening=0.0, weight_decay=0.0)
        >>> (weight,) = fit([torch.zeros(4, 5)], lambda weights: x @ weights[0], y)
        >>> weight.shape
        torch.Size([4, 5])
    """

    steps: int
    lr: float
    momentum: float
    dampening: float
    weight_decay: float

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"head_fit.steps is {self.steps}; it must not be negative")

    def __call__(self, start: list[Tensor], logits: Callable[[Sequence[Tensor]], Tensor], y: Tensor) -> list[Tensor]:
        """Returns the weights after `steps` steps from `start`.

        `logits` maps weights to the logits of the support rows, (S, N); `y` is one-hot, (S, N).
        """
        gradient = torch.func.grad(lambda weights: cross_entropy(logits(weights), y))
        weights, moves = start, None
        for _ in range(self.steps):
            gradients = [g + self.weight_decay * w for g, w in zip(gradient(weights), weights, strict=True)]
            moves = gradients if moves is None else [self.moved(*pair) for pair in zip(moves, gradients, strict=True)]
            weights = [w - self.lr * move for w, move in zip(weights, moves, strict=True)]
        return weights

    def moved(self, move: Tensor, gradient: Tensor) -> Tensor:
        """Returns the next move, from the last one."""
        return self.momentum * move + (1 - self.dampening) * gradient


def basis_of(z: Tensor) -> Tensor:
    """Returns an orthonormal basis of the span of rows: (S, D) -> (D, R), R = min(S, D).

    A gradient of a head lies in the span of the support rows, so that `HeadFit` makes equal steps
    in these few coordinates.
    """
    return torch.linalg.qr(z.T).Q
