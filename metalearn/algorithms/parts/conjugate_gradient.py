"""Conjugate gradient method: solves A x = b by products with A alone.

Magnus Hestenes, Eduard Stiefel. Methods of Conjugate Gradients for Solving Linear Systems. 1952.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from metalearn.types import Parameters


def solve(product: Callable[[Parameters], Parameters], b: Parameters, num_steps: int) -> Parameters:
    """Returns x after `num_steps` steps from 0, for a symmetric positive definite A.

    It is exact after as many steps as b has numbers.
    """
    x = {name: torch.zeros_like(value) for name, value in b.items()}
    residual = direction = b  # b - A x
    square = dot(residual, residual)
    for _ in range(num_steps):
        image = product(direction)  # A p
        length = _quotient(square, dot(direction, image))
        x = _plus(x, length, direction)
        residual = _plus(residual, -length, image)
        before, square = square, dot(residual, residual)
        direction = _plus(residual, _quotient(square, before), direction)
    return x


def dot(a: Parameters, b: Parameters) -> Tensor:
    """Computes the inner product over all weights, ()."""
    return torch.stack([(value * b[name]).sum() for name, value in a.items()]).sum()


def _plus(a: Parameters, factor: Tensor, b: Parameters) -> Parameters:
    return {name: value + factor * b[name] for name, value in a.items()}


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """Divides a by b; 0 if the system is already solved."""
    return torch.where(a == 0, torch.zeros_like(a), a / b)
