"""Losses and scores of predictions against targets. Pure functions."""

import math
from collections.abc import Callable, Mapping
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


def negative_log_likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows and outputs of -log N(target; mean, deviation²), in nats: (..., B, 2 N), (..., B, N) -> (...).

    `outputs` are the means and, after them, the logarithms of the deviations.
    """
    means, logs = outputs.chunk(2, -1)
    errors = (targets - means) / logs.exp()
    return (0.5 * errors.square() + logs + 0.5 * math.log(2 * math.pi)).mean((-2, -1))


def coverage(outputs: Tensor, targets: Tensor) -> Tensor:
    """Fraction of the targets in their predicted 95 % intervals, of shapes as before: 0.95 if these are right."""
    means, logs = outputs.chunk(2, -1)
    return ((targets - means).abs() <= 1.96 * logs.exp()).float().mean((-2, -1))


class Objective(NamedTuple):
    """What the predictions of a task are trained for, and by what they are judged."""

    loss: Callable[[Tensor, Tensor], Tensor]  # predictions, targets: (B, N), (B, N) -> ()
    score: Callable[[Tensor, Tensor], Tensor]  # (..., B, N), (..., B, N) -> (...)
    score_name: Literal["accuracy", "mse"]
    others: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {}  # further scores of a test, by their names


Problem = Literal["classification", "regression"]
OBJECTIVES: dict[Problem, Objective] = {
    "classification": Objective(cross_entropy, accuracy, "accuracy"),
    "regression": Objective(squared_error, squared_error, "mse"),
}

DENSITY = Objective(
    lambda outputs, targets: negative_log_likelihood(outputs, targets).mean(),
    lambda outputs, targets: squared_error(outputs.chunk(2, -1)[0], targets),
    "mse",
    {"nll": negative_log_likelihood, "coverage": coverage},
)
"""That of a regression whose predictions are means and the logarithms of deviations, (..., B, 2 N)."""
