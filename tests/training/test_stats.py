import math

import numpy as np
import pytest
import torch

from metalearn.losses import accuracy, cross_entropy
from metalearn.stats import estimate, student_t, two_sided_p


def test_estimate_by_hand() -> None:
    mean, std, ci95, count = estimate([0.2, 0.4, 0.6])
    assert (mean, std, count) == (pytest.approx(0.4), pytest.approx(0.2), 3)
    assert ci95 == pytest.approx(4.30265 * 0.2 / math.sqrt(3), rel=1e-5)


def test_one_episode_has_no_interval_and_none_no_mean() -> None:
    assert math.isnan(estimate([0.5]).ci95)
    with pytest.raises(ValueError, match="no episodes"):
        estimate([])


def test_the_interval_covers_the_mean_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    estimates = [estimate(rng.binomial(75, 0.7, 600) / 75) for _ in range(1000)]
    covered = np.mean([abs(e.mean - 0.7) < e.ci95 for e in estimates])
    assert 0.93 < covered < 0.97


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_the_interval_of_few_covers_the_mean_as_often(count: int) -> None:
    draws = np.random.default_rng(0).normal(size=(4000, count))
    covered = np.mean([abs(estimated.mean) < estimated.ci95 for estimated in map(estimate, draws)])
    assert 0.94 < covered < 0.96


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (19, 2.0930), (599, 1.9639)])
def test_the_quantile_of_student_is_that_of_the_tables(degrees: int, quantile: float) -> None:
    assert student_t(degrees) == pytest.approx(quantile, abs=5e-5)
    found = student_t(degrees)
    assert two_sided_p(np.array([0.0, found, -found]), degrees) == pytest.approx([1.0, 0.05, 0.05])


def test_losses_by_hand() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(3), 0.0]]])  # (1, 2, 2)
    targets = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    assert cross_entropy(logits, targets).item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    assert accuracy(logits, targets).tolist() == [0.5]
