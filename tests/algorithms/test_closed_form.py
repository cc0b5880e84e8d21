"""Ridge regression and support vector machines against definitions and slow solvers."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.metaoptnet import MetaOptNet
from metalearn.algorithms.parts.ridge import ridge_regression
from metalearn.algorithms.parts.svm import crammer_singer
from metalearn.algorithms.r2d2 import R2D2
from metalearn.backbones.mlp import MLP


def task(way: int, shot: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draws embeddings (S, D) with a common part in each class, and one-hot labels (S, N)."""
    generator = torch.Generator().manual_seed(seed)
    y = F.one_hot(torch.arange(way).repeat(shot), way).double()
    centres = torch.randn(way, width, generator=generator, dtype=torch.float64)
    return y @ centres + torch.randn(len(y), width, generator=generator, dtype=torch.float64), y


@pytest.mark.parametrize("width", [4, 40])
def test_ridge_regression_is_least_squares_of_the_augmented_system(width: int) -> None:
    x, y = task(3, 4, width)
    augmented = torch.cat([x, 2.5**0.5 * torch.eye(width, dtype=torch.float64)])
    expected = torch.linalg.lstsq(augmented, torch.cat([y, y.new_zeros(width, 3)])).solution
    torch.testing.assert_close(ridge_regression(x, y, 2.5), expected)


def test_r2d2_has_a_bias_and_learns_scale_offset_and_ridge() -> None:
    algorithm = R2D2(MLP([4]), scale=10.0, ridge=2.0, batch_norm="batch").double()
    z, y = task(3, 2, 4)
    queries = torch.randn(5, 4, dtype=torch.float64)
    ones = torch.ones(6, 1, dtype=torch.float64)
    w = ridge_regression(torch.cat([z, ones], 1), y, 2.0)
    torch.nn.init.constant_(algorithm.beta, 0.5)
    logits = algorithm.compare(z, y, queries)
    torch.testing.assert_close(logits, 10 * (queries @ w[:4] + w[4]) + 0.5)
    logits.square().sum().backward()
    assert algorithm.alpha.grad and algorithm.beta.grad and algorithm.log_ridge.grad
    with pytest.raises(ValueError, match="ridge=0.0 must be positive"):
        R2D2(MLP([4]), scale=1.0, ridge=0.0, batch_norm="batch")


def slow_svm(kernel: np.ndarray, y: np.ndarray, c: float, steps: int = 30_000) -> np.ndarray:
    """Solves the dual by accelerated projected gradient steps."""
    rate = 1 / np.linalg.eigvalsh(kernel)[-1]
    alpha = momentum = np.zeros_like(y)

    def projected(rows: np.ndarray) -> np.ndarray:
        # The nearest point with rows that sum to 0 and stay below C y is min(row - t, C y);
        # bisection finds t.
        low, high = rows.min(1) - c, rows.max(1) + c
        for _ in range(80):
            middle = (low + high) / 2
            too_large = np.minimum(rows - middle[:, None], c * y).sum(1) > 0
            low, high = np.where(too_large, middle, low), np.where(too_large, high, middle)
        return np.minimum(rows - ((low + high) / 2)[:, None], c * y)

    for step in range(steps):
        before, alpha = alpha, projected(momentum - rate * (kernel @ momentum - y))
        momentum = alpha + step / (step + 3) * (alpha - before)
    return alpha


@pytest.mark.parametrize(("way", "shot", "c"), [(2, 3, 0.1), (3, 2, 1.0), (5, 1, 0.1)])
def test_the_svm_agrees_with_a_slow_solver(way: int, shot: int, c: float) -> None:
    z, y = task(way, shot, 12)
    kernel = z @ z.T
    alpha = crammer_singer(kernel, y, c)
    np.testing.assert_allclose(alpha.numpy(), slow_svm(kernel.numpy(), y.numpy(), c, 500), atol=1e-6)


@pytest.mark.parametrize(("way", "shot", "width"), [(5, 1, 64), (5, 5, 64), (20, 5, 16), (5, 15, 8), (2, 1, 1)])
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_the_svm_satisfies_the_conditions_of_an_optimum(way: int, shot: int, width: int, size: float) -> None:
    # The problem is convex, so these conditions are sufficient: feasible, and no feasible direction
    # descends.
    z, y = task(way, shot, width)
    kernel, c = size**2 * z @ z.T, 0.1
    alpha = crammer_singer(kernel, y, c)
    assert alpha.sum(1).abs().max() < 1e-7 * c
    assert (alpha - c * y).max() < 1e-7 * c
    descent = y - kernel @ alpha  # negative gradient
    for row, bound, direction in zip(alpha, c * y, descent, strict=True):
        # Weight may move to a class only while it is below its bound, so such classes agree on the
        # best direction.
        free = row < bound - 1e-5 * c
        assert free.any()
        assert (direction >= direction[free].max() - 1e-4 * max(1, kernel.max() * c)).all()


@pytest.mark.parametrize(("way", "shot"), [(3, 1), (3, 3)])
def test_the_gradient_of_the_svm_is_that_of_its_solution(way: int, shot: int) -> None:
    z, y = task(way, shot, 6)
    weights = torch.randn(len(y), way, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(z: Tensor) -> Tensor:
        return (weights * crammer_singer(z @ z.T, y, 0.1)).sum()

    z.requires_grad_()
    (gradient,) = torch.autograd.grad(value(z), z)
    direction = torch.randn(z.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        slope = (value(z + step * direction) - value(z - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-4, abs=1e-8)
    assert gradient.abs().max() > 1e-3


def test_rows_that_are_equal_do_no_harm() -> None:
    z = torch.ones(4, 3)
    y = F.one_hot(torch.tensor([0, 1, 0, 1]), 2).float()
    alpha = crammer_singer(z @ z.T, y, 0.1)
    assert torch.isfinite(alpha).all()
    torch.testing.assert_close(z.T @ alpha, torch.zeros(3, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
def test_a_row_that_is_not_finite_gives_no_finite_weight(value: float) -> None:
    z, y = task(3, 2, 4)
    z[0, 0] = value
    z.requires_grad_()
    alpha = crammer_singer(z @ z.T, y, 0.1)
    assert alpha.isnan().all()
    assert torch.autograd.grad(alpha.sum(), z)[0].isnan().any()


def test_metaoptnet_scales_the_logits_of_either_head() -> None:
    z, y = task(3, 2, 4)
    queries = torch.randn(5, 4, dtype=torch.float64)
    weights = {"svm": z.T @ crammer_singer(z @ z.T, y, 0.1), "ridge": ridge_regression(z, y, 2.0)}
    for head, w in weights.items():
        algorithm = MetaOptNet(MLP([4]), head=head, c=0.1, ridge=2.0, scale=3.0, batch_norm="batch").double()
        torch.testing.assert_close(algorithm.compare(z, y, queries), 3 * queries @ w)


def test_metaoptnet_separates_what_is_separable() -> None:
    for head in ("svm", "ridge"):
        algorithm = MetaOptNet(MLP([4]), head=head, c=0.1, ridge=50.0, scale=1.0, batch_norm="batch").double()
        z, y = task(5, 3, 64)
        assert torch.equal(algorithm.compare(z, y, z).argmax(1), y.argmax(1))
    with pytest.raises(ValueError, match="c=-1"):
        MetaOptNet(MLP([4]), head="svm", c=-1.0, ridge=50.0, scale=1.0, batch_norm="batch")
