"""Operators that ONNX lacks, by operators that it has."""

from typing import Any

import torch
from torch import Tensor

STEPS = 60
"""Enough steps for a condition of a million: twice its binary logarithm, and a few more."""


def inverse(a: Tensor) -> Tensor:
    """Inverts a matrix by matrix products alone: (M, M) -> (M, M).

    Günther Schulz. Iterative Berechnung der reziproken Matrix. ZAMM 1933: X ← X (2 I - A X) doubles
    the digits.
    """
    two = 2 * torch.eye(a.shape[0], dtype=a.dtype, device=a.device)
    largest = a.abs().sum(0).max() * a.abs().sum(1).max()
    x = a.T / largest  # start that converges (Pan and Schreiber 1991)
    for _ in range(STEPS):
        x = x @ (two - a @ x)
    return x


def solve(a: Tensor, b: Tensor, *, left: bool = True, check_errors: bool = False) -> tuple[Tensor, ...]:
    """Solves like aten::_linalg_solve_ex; also returns values for its backward pass."""
    info = torch.zeros((), dtype=torch.int32, device=a.device)
    return (inverse(a) @ b if left else b @ inverse(a)), a, info, info


def sort(x: Tensor, *, stable: bool | None, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Sorts like aten::sort.stable: TopK of ONNX has the lower index first among equal values."""
    values, indices = x.topk(x.shape[dim], dim, largest=descending)
    return values, indices


DECOMPOSITIONS: dict[Any, Any] = {
    **torch.export.default_decompositions(),
    torch.ops.aten._linalg_solve_ex.default: solve,
    torch.ops.aten.sort.stable: sort,
}
