"""Losses and scores of predictions against targets. Pure functions."""

import math
from collections.abc import Callable, Mapping
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


def negative_log_likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    """Computes the mean of -log N(target; mean, deviation²) over rows and outputs, in nats.

    The shapes are (..., B, 2 N), (..., B, N) -> (...). `outputs` are the means, followed by the
    logarithms of the deviations.
    """
    means, logs = outputs.chunk(2, -1)
    errors = (targets - means) / logs.exp()
    return (0.5 * errors.square() + logs + 0.5 * math.log(2 * math.pi)).mean((-2, -1))


def coverage(outputs: Tensor, targets: Tensor) -> Tensor:
    """Computes the fraction of the targets in their predicted 95 % intervals.

    The shapes are those of `negative_log_likelihood`. Correct deviations give 0.95.
    """
    means, logs = outputs.chunk(2, -1)
    return ((targets - means).abs() <= 1.96 * logs.exp()).float().mean((-2, -1))


class Objective(NamedTuple):
    """Training loss and evaluation score of a kind of problem."""

    loss: Callable[[Tensor, Tensor], Tensor]  # predictions, targets: (..., B, N), (..., B, N) -> ()
    score: Callable[[Tensor, Tensor], Tensor]  # (..., B, N), (..., B, N) -> (...)
    score_name: Literal["accuracy", "mse"]
    others: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {}  # further test scores, by name


Problem = Literal["classification", "regression"]
OBJECTIVES: dict[Problem, Objective] = {
    "classification": Objective(cross_entropy, accuracy, "accuracy"),
    "regression": Objective(F.mse_loss, squared_error, "mse"),
}

DENSITY = Objective(
    lambda outputs, targets: negative_log_likelihood(outputs, targets).mean(),
    lambda outputs, targets: squared_error(outputs.chunk(2, -1)[0], targets),
    "mse",
    {"nll": negative_log_likelihood, "coverage": coverage},
)
"""Objective of a regression with deviations.

Its predictions (..., B, 2 N) are means, followed by the logarithms of deviations.
"""
