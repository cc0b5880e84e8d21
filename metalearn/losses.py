"""Losses and scores of predictions against targets. Pure functions."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Computes the mean cross-entropy in nats; logits and one-hot targets are (..., N)."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(0, -2))


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Computes the fraction of rows with correct argmax: (..., B, N), (..., B, N) -> (...)."""
    return (logits.argmax(-1) == targets.argmax(-1)).float().mean(-1)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Computes the mean squared error over rows and outputs: (..., B, N), (..., B, N) -> (...)."""
    return (outputs - targets).square().mean((-2, -1))


class Objective(NamedTuple):
    """Training loss and evaluation score of a kind of problem."""

    loss: Callable[[Tensor, Tensor], Tensor]  # predictions, targets: (B, N), (B, N) -> ()
    score: Callable[[Tensor, Tensor], Tensor]  # (..., B, N), (..., B, N) -> (...)
    score_name: Literal["accuracy", "mse"]


Problem = Literal["classification", "regression"]
OBJECTIVES: dict[Problem, Objective] = {
    "classification": Objective(cross_entropy, accuracy, "accuracy"),
    "regression": Objective(squared_error, squared_error, "mse"),
}
