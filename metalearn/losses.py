"""Losses and scores of predictions against targets. Pure functions."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats over all leading axes; logits and one-hot targets are (..., N)."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(0, -2))


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Fraction of the rows whose largest logit is the target's: (..., B, N), (..., B, N) -> (...)."""
    return (logits.argmax(-1) == targets.argmax(-1)).float().mean(-1)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over the rows and the outputs: (..., B, N), (..., B, N) -> (...)."""
    return (outputs - targets).square().mean((-2, -1))


class Objective(NamedTuple):
    """What the predictions of a task are trained for, and by what they are judged."""

    loss: Callable[[Tensor, Tensor], Tensor]  # predictions, targets: (B, N), (B, N) -> ()
    score: Callable[[Tensor, Tensor], Tensor]  # (..., B, N), (..., B, N) -> (...)
    score_name: Literal["accuracy", "mse"]


Problem = Literal["classification", "regression"]
OBJECTIVES: dict[Problem, Objective] = {
    "classification": Objective(cross_entropy, accuracy, "accuracy"),
    "regression": Objective(squared_error, squared_error, "mse"),
}
