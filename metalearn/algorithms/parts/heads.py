"""Fits a new head to the frozen embeddings of a support set, for the baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metalearn.losses import cross_entropy


@dataclass(frozen=True, kw_only=True)
class HeadFit:
    """Gradient descent with momentum on the mean cross-entropy of all support rows.

    Every step uses all rows, so that their order does not matter. Autocast must be off, because it
    would cache its cast of the initial weights.

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
        weights = [nn.Parameter(weight.detach().clone()) for weight in start]
        sgd = torch.optim.SGD(
            weights, self.lr, momentum=self.momentum, dampening=self.dampening, weight_decay=self.weight_decay
        )
        with torch.enable_grad():
            for _ in range(self.steps):
                sgd.zero_grad()
                cross_entropy(logits(weights), y).backward()
                sgd.step()
        return [weight.detach() for weight in weights]
