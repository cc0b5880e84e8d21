"""Statistics of a result. Pure functions."""

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np

from metalearn.estimates import Estimate


def estimate(scores: Sequence[float] | np.ndarray) -> Estimate:
    """Computes mean and 95 % interval of one score per episode; one episode has no interval (nan).

    The interval is Student's: with 5 episodes, 1.96 standard errors would miss in 12 cases of 100.
    Raises ValueError if there are no scores.

    Examples:
        >>> result = estimate([0.8, 0.9, 1.0])
        >>> round(result.mean, 3), round(result.ci95, 3), result.num_episodes
        (0.9, 0.248, 3)
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
    """Computes the 97.5 % quantile of Student's t: 12.7 at one degree of freedom, 1.96 at many."""
    t, cdf = _student(degrees)
    return float(np.interp(0.95, cdf, t))


def two_sided_p(t: np.ndarray, degrees: int) -> np.ndarray:
    """Computes the probability that Student's t is at least as far from 0 as each of `t`."""
    grid, cdf = _student(degrees)
    return 1 - np.interp(np.abs(t), grid, cdf)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Computes Wilson's 95 % interval of a fraction (1927), valid for few trials, near 0 and 1."""
    z, p = NormalDist().inv_cdf(0.975), successes / trials
    centre = p + z**2 / (2 * trials)
    spread = z * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    low, high = (centre - spread) / (1 + z**2 / trials), (centre + spread) / (1 + z**2 / trials)
    return 0.0 if successes == 0 else low, 1.0 if successes == trials else high


@cache
def _student(degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """Tabulates the probability that |T| is below t, on a fine grid of t from 0 to infinity.

    With t = sqrt(degrees) tan(a), the density of the angle a is cos(a) ** (degrees - 1). The
    integral is computed here instead of by SciPy: where SciPy is installed, torchmetrics imports
    its signal processing, and every process would start a second later.
    """
    angle = np.linspace(0, math.pi / 2, 100_001)
    density = np.cos(angle) ** (degrees - 1)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(degrees) * np.tan(angle), below / below[-1]
