"""Means and sums over the support rows of each class."""

import torch
from torch import Tensor

from metalearn.algorithms.parts.precision import at_least_float32


@at_least_float32
def class_means(z: Tensor, y: Tensor) -> Tensor:
    """Computes the mean of each class, its prototype: (S, D), one-hot (S, N) -> (N, D)."""
    return y.T @ z / y.sum(0)[:, None]


def logsumexp_by_class(scores: Tensor, support_y: Tensor) -> Tensor:
    """Computes log Σ exp(scores) over the rows of each class: (..., S), (S, N) -> (..., N)."""
    return torch.logsumexp(scores[..., None] + support_y.log(), dim=-2)
