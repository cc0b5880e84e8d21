"""Distribution calibration: borrowed Gaussians and the fit, against explicit ones."""

from types import SimpleNamespace

import pytest
import torch
from embedded_tasks import Flat, compare, random_task
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.distribution_calibration import DistributionCalibration
from metalearn.algorithms.parts.base_classes import BaseGaussians
from metalearn.algorithms.parts.heads import HeadFit
from metalearn.algorithms.parts.transforms import power

FIT = HeadFit(steps=30, lr=0.05, momentum=0.9, dampening=0.0, weight_decay=1e-3)


def base_z(images: int = 9) -> Tensor:
    """Draws embeddings of 4 base classes."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, images, 5, dtype=torch.float64, generator=generator) * torch.arange(1.0, 6.0)


def calibration(nearest: int = 2, samples: int = 30) -> DistributionCalibration:
    algorithm = DistributionCalibration(
        Flat(5),
        exponent=0.5,
        nearest=nearest,
        dispersion=0.21,
        samples=samples,
        head_fit=FIT,
        num_base_classes=4,
        batch_norm="running",
    ).double()
    algorithm.base.fit(base_z())
    return algorithm


@pytest.fixture
def task() -> SimpleNamespace:
    return random_task()


def test_gaussians_are_those_of_the_base_classes() -> None:
    base = BaseGaussians(4, 5).double()
    assert not base.is_fitted
    for images in (30, 9):  # the second fit replaces the first
        z = base_z(images)
        base.fit(z)
        for of_class, mean, factor in zip(z, base.means, base.factors, strict=True):
            torch.testing.assert_close(mean, of_class.mean(0))
            torch.testing.assert_close(factor.T @ factor, of_class.T.cov())
    assert base.is_fitted


def test_a_row_borrows_from_the_nearest_base_classes(task: SimpleNamespace) -> None:
    algorithm, z = calibration(), base_z()
    rows = power(task.support_z, 0.5)
    for row, mean, factor in zip(rows, *algorithm.calibrated(rows), strict=True):
        near = sorted(range(4), key=lambda c, row=row: (row - z[c].mean(0)).square().sum())[:2]
        torch.testing.assert_close(mean, (sum(z[c].mean(0) for c in near) + row) / 3)
        torch.testing.assert_close(factor.T @ factor, sum(z[c].T.cov() for c in near) / 2 + 0.21)


def test_the_head_is_fitted_to_the_support_set_and_the_samples(task: SimpleNamespace) -> None:
    algorithm = calibration()
    rows = power(task.support_z, 0.5)
    means, factors = algorithm.calibrated(rows)
    noise = algorithm.noise(30 * 3 // 7, factors)
    assert len(noise) == 12
    samples = [mean + draw @ factor for mean, factor in zip(means, factors, strict=True) for draw in noise]
    z = torch.stack([*rows, *samples])
    y = torch.stack([*task.support_y, *(label for label in task.support_y for _ in range(12))])
    loss = lambda head: F.cross_entropy(F.linear(z, head[:, :-1], head[:, -1]), y)  # noqa: E731
    head = FIT(torch.zeros(3, 6).double(), torch.func.grad(loss))
    expected = F.linear(power(task.query_z, 0.5), head[:, :-1], head[:, -1])
    torch.testing.assert_close(compare(algorithm, task), expected)
    twice = (part.expand(2, -1, -1) for part in (task.support_z, task.support_y, task.query_z))
    torch.testing.assert_close(algorithm.compare_all(*twice), expected.expand(2, -1, -1))


def test_samples_have_the_moments_of_the_gaussian(task: SimpleNamespace) -> None:
    algorithm = calibration()
    _, factors = algorithm.calibrated(power(task.support_z, 0.5))
    samples = algorithm.noise(200_000, factors) @ factors[0]
    expected = factors[0].T @ factors[0]
    assert (samples.T.cov() - expected).norm() < 0.02 * expected.norm()
    assert samples.mean(0).norm() < 0.02 * expected.norm()


def test_more_base_classes_than_there_are_is_all_of_them(task: SimpleNamespace) -> None:
    assert torch.equal(compare(calibration(nearest=9), task), compare(calibration(nearest=4), task))
    with pytest.raises(ValueError, match="nearest=0 must be at least 1"):
        calibration(nearest=0)


def test_the_power_keeps_signs() -> None:
    assert torch.equal(power(torch.tensor([4.0, 0.0, -9.0]), 0.5), torch.tensor([2.0, 0.0, -3.0]))
