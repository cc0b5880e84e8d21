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


def gaussians(algorithm: DistributionCalibration, rows: Tensor) -> Tensor:
    """Returns each row, its mean and its factors: (S, 2 + k K + 1, D)."""
    vectors, members = algorithm.calibrated(rows)
    return vectors[members][..., :-1]


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
    for row, (itself, mean, *factors) in zip(rows, gaussians(algorithm, rows), strict=True):
        factor = torch.stack(factors)
        near = sorted(range(4), key=lambda c, row=row: (row - z[c].mean(0)).square().sum())[:2]
        torch.testing.assert_close(itself, row)
        torch.testing.assert_close(mean, (sum(z[c].mean(0) for c in near) + row) / 3)
        torch.testing.assert_close(factor.T @ factor, sum(z[c].T.cov() for c in near) / 2 + 0.21)


def test_the_head_is_fitted_to_the_support_set_and_the_samples(task: SimpleNamespace) -> None:
    algorithm = calibration()
    rows = power(task.support_z, 0.5)
    vectors = gaussians(algorithm, rows)
    weights = algorithm.weights(12, vectors.shape[1]).double()  # 30 * 3 // 7 samples of a row
    assert len(weights) == 1 + 12 and torch.equal(weights[0] @ vectors, rows)
    z = torch.cat([rows, *(weights[1:] @ of_row for of_row in vectors)])
    y = torch.stack([*task.support_y, *(label for label in task.support_y for _ in range(12))])

    def loss(head: Tensor) -> Tensor:
        losses = F.cross_entropy(F.linear(z, head[:, :-1], head[:, -1]), y, reduction="none")
        return torch.stack([losses[y.argmax(1) == way].mean() for way in range(3)]).mean()

    head = FIT(torch.zeros(3, 6).double(), torch.func.grad(loss))
    expected = F.linear(power(task.query_z, 0.5), head[:, :-1], head[:, -1])
    torch.testing.assert_close(compare(algorithm, task), expected)
    twice = (part.expand(2, -1, -1) for part in (task.support_z, task.support_y, task.query_z))
    torch.testing.assert_close(algorithm.compare_all(*twice), expected.expand(2, -1, -1))


def test_a_class_of_many_rows_has_no_more_samples_than_the_others(task: SimpleNamespace) -> None:
    algorithm = calibration()
    algorithm.weights = lambda _, members: calibration().weights(9, members)  # independent of the shots
    expected = compare(algorithm, task)
    twice = task.support_y[:, 0] == 1
    task.support_z, task.support_y = (torch.cat([part, part[twice]]) for part in (task.support_z, task.support_y))
    torch.testing.assert_close(compare(algorithm, task), expected)


def test_samples_have_the_moments_of_the_gaussian(task: SimpleNamespace) -> None:
    algorithm = calibration()
    vectors = gaussians(algorithm, power(task.support_z, 0.5))[0]
    mean, factor = vectors[1], vectors[2:]
    samples = algorithm.weights(200_000, len(vectors))[1:].double() @ vectors
    expected = factor.T @ factor
    assert (samples.T.cov() - expected).norm() < 0.02 * expected.norm()
    assert (samples.mean(0) - mean).norm() < 0.02 * expected.norm()


def test_more_base_classes_than_there_are_is_all_of_them(task: SimpleNamespace) -> None:
    assert torch.equal(compare(calibration(nearest=9), task), compare(calibration(nearest=4), task))
    with pytest.raises(ValueError, match="nearest=0 must be at least 1"):
        calibration(nearest=0)


def test_the_power_keeps_signs() -> None:
    assert torch.equal(power(torch.tensor([4.0, 0.0, -9.0]), 0.5), torch.tensor([2.0, 0.0, -3.0]))
