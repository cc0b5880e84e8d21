"""Multi-class support vector machine as a differentiable function of its kernel matrix.

Koby Crammer, Yoram Singer. On the Algorithmic Implementation of Multiclass Kernel-based Vector
Machines. JMLR 2001. A primal-dual interior point method solves the dual. Its derivative follows
from the conditions of optimality.
"""

from typing import NamedTuple

import torch
from torch import Tensor

CENTRING, STAY_INSIDE = 0.1, 0.99
"""Targeted reduction of the gap per step, and the largest fraction of the way to the boundary."""
JITTER = 1e-8
"""Fraction of the mean diagonal that makes the solution unique for a rank-deficient kernel."""
MAX_STEPS, TOLERANCE = 60, 1e-9
"""Limit on the steps, and the gap at which they end, as a fraction of the penalty."""


class _Point(NamedTuple):
    alpha: Tensor  # (N, S), the dual weights, one row for each class
    nu: Tensor  # (S,), multipliers of the equalities
    slack: Tensor  # (N, S), of alpha <= C y
    multiplier: Tensor  # (N, S), multipliers of alpha <= C y


def crammer_singer(kernel: Tensor, y: Tensor, c: float) -> Tensor:
    """Solves the dual: kernel matrix (S, S), one-hot labels (S, N) -> dual weights A (S, N).

    A minimises ½ tr(Aᵀ K A) − tr(Aᵀ Y) where A <= C Y and every row sums to 0; C > 0 is the penalty
    of an error. Gradients reach the kernel. The computation is in float64, as the kernel should be,
    and ends when the duality gap and all residuals are below `TOLERANCE` times C.
    """
    with torch.autocast(kernel.device.type, enabled=False):
        k = kernel.double() + JITTER * kernel.detach().double().diagonal().mean() * torch.eye(
            len(kernel), dtype=torch.float64, device=kernel.device
        )
        labels = y.T.double()  # (N, S)
        with torch.no_grad():
            point = _solve(k, labels, c)
        # At the solution this step is zero, but its derivative in K is that of the solution.
        stationary = point.alpha @ k - labels + point.nu + point.multiplier  # (N, S)
        step, _ = _newton(k.detach() + torch.diag_embed(point.multiplier / point.slack), -stationary, 0)
        return (point.alpha + step).T.to(kernel.dtype)


def _solve(k: Tensor, y: Tensor, c: float) -> _Point:
    point = _Point(torch.zeros_like(y), y.new_zeros(y.shape[1]), torch.full_like(y, c), torch.ones_like(y))
    for _ in range(MAX_STEPS):
        alpha, nu, slack, multiplier = point
        stationary = alpha @ k - y + nu + multiplier  # (N, S)  gradient of the Lagrangian
        equal = alpha.sum(0)  # (S,)
        bound = alpha + slack - c * y  # (N, S)
        gap = (slack * multiplier).mean()
        if max(gap, stationary.abs().max(), equal.abs().max(), bound.abs().max()) < TOLERANCE * c:
            break
        central = slack * multiplier - CENTRING * gap  # (N, S)
        system = k + torch.diag_embed(multiplier / slack)  # (N, S, S)
        step, nu_step = _newton(system, -stationary + (central - multiplier * bound) / slack, -equal)
        slack_step = -bound - step
        multiplier_step = (-central - multiplier * slack_step) / slack
        length = min(_to_boundary(slack, slack_step), _to_boundary(multiplier, multiplier_step))
        steps = (step, nu_step, slack_step, multiplier_step)
        point = _Point(*(part + length * change for part, change in zip(point, steps, strict=True)))
    return point


def _newton(system: Tensor, right: Tensor, sums: Tensor | float) -> tuple[Tensor, Tensor]:
    """Finds X (N, S) and ν (S,) with system_n x_n + ν = right_n for every n, and Σ_n x_n = sums."""
    # `cholesky` and `solve` would wait for the device, and raise an error if training diverges.
    factor = torch.linalg.cholesky_ex(system).L  # (N, S, S)
    inverse = torch.cholesky_inverse(factor)
    free = (inverse @ right[..., None])[..., 0]  # (N, S), without the equalities
    nu = torch.linalg.solve_ex(inverse.sum(0), free.sum(0) - sums).result  # (S,)
    return free - inverse @ nu, nu


def _to_boundary(value: Tensor, change: Tensor) -> float:
    """Computes the largest fraction of a change, at most 1, that keeps all values positive."""
    shrink = (-change / value).max().item()
    return 1.0 if shrink <= STAY_INSIDE else STAY_INSIDE / shrink
