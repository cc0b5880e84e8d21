"""Fits a new head to the frozen embeddings of a support set, for the baselines."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.algorithms.parts.checks import check_at_least


@dataclass(frozen=True, kw_only=True)
class HeadFit:
    """Gradient descent with momentum on the mean cross-entropy of all support rows.

    Every step uses all rows, so that their order does not matter. The steps of `torch.optim.SGD`
    are written as functions here, so that torch.vmap fits the heads of many tasks at once. The
    gradient is a formula, since torch.func.grad took ten times as long on so few numbers.

    Args:
        steps: number of steps.
        lr: step size, as the next three of `torch.optim.SGD`.
        momentum: weight of the earlier steps.
        dampening: fraction of the gradient that the momentum leaves out.
        weight_decay: factor of the weights that is added to their gradient.

    Examples:
        >>> z, y = torch.randn(10, 4), torch.eye(5).repeat(2, 1)
        >>> fit = HeadFit(steps=5, lr=0.01, momentum=0.9, dampening=0.0, weight_decay=0.0)
        >>> head = fit(torch.zeros(5, 4), lambda head: ((z @ head.T).softmax(1) - y).T @ z / len(z))
        >>> head.shape
        torch.Size([5, 4])
    """

    steps: int
    lr: float
    momentum: float
    dampening: float
    weight_decay: float

    def __post_init__(self) -> None:
        for name in ("steps", "lr", "momentum", "weight_decay"):
            check_at_least(0, **{f"head_fit.{name}": getattr(self, name)})

    def __call__(self, start: Tensor, gradient: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the head after `steps` steps from `start`.

        `gradient` computes the gradient of the loss at a head.
        """
        head, move = start, None
        for _ in range(self.steps):
            slope = gradient(head) + self.weight_decay * head
            move = slope if move is None else self.momentum * move + (1 - self.dampening) * slope
            head = head - self.lr * move
        return head


def basis_of(z: Tensor) -> Tensor:
    """Returns an orthonormal basis of the span of rows: (S, D) -> (D, R), R = min(S, D).

    A gradient of a head lies in the span of the support rows, so that `HeadFit` makes equal steps
    in these few coordinates.
    """
    return torch.linalg.qr(z.T).Q
