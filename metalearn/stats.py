"""Statistics of a result. Pure functions; SciPy is imported late, since it takes most of a second."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean over episodes or seeds, and how far to believe it."""

    mean: float
    std: float  # sample standard deviation (n - 1)
    ci95: float  # half width of the 95 % interval, t * std / sqrt(n)
    num_episodes: int


def estimate(scores: Sequence[float] | np.ndarray) -> Estimate:
    """Mean and 95 % interval of one score per episode; one episode alone has no interval (nan).

    The interval is Student's: 1.96 standard errors of 5 episodes would miss in 12 cases of 100.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no episodes to average")
    if values.size == 1:
        return Estimate(float(values[0]), math.nan, math.nan, 1)
    std = float(values.std(ddof=1))
    half = student_t(values.size - 1) * std / math.sqrt(values.size)
    return Estimate(float(values.mean()), std, half, values.size)


def student_t(degrees: int) -> float:
    """The 97.5 % quantile of Student's t: 12.7 of one degree of freedom, 1.96 of many."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def two_sided_p(t: np.ndarray, degrees: int) -> np.ndarray:
    """The chance that Student's t is at least as far from 0 as each of `t`."""
    from scipy.special import stdtr

    return np.asarray(2 * stdtr(degrees, -np.abs(t)))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a fraction (Wilson 1927), which holds for few trials and near 0 and 1 too."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
