"""Statistics of a result. Pure functions."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean over episodes, and how far to believe it."""

    mean: float
    std: float  # sample standard deviation (n - 1)
    ci95: float  # half width of the 95 % interval, 1.96 * std / sqrt(n)
    num_episodes: int


def estimate(scores: Sequence[float] | np.ndarray) -> Estimate:
    """Mean and normal 95 % interval of one score per episode; one episode alone has no interval (nan)."""
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no episodes to average")
    std = float(values.std(ddof=1)) if values.size > 1 else math.nan
    return Estimate(float(values.mean()), std, 1.96 * std / math.sqrt(values.size), values.size)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a fraction (Wilson 1927), which holds for few trials and near 0 and 1 too."""
    z, p = 1.96, successes / trials
    centre, spread = p + z**2 / (2 * trials), z * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    return (centre - spread) / (1 + z**2 / trials), (centre + spread) / (1 + z**2 / trials)


STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The 97.5 % quantile of Student's t at 1 to 9 degrees of freedom."""


def ci95_over_seeds(means: Sequence[float]) -> float:
    """Half width of the 95 % interval of the mean over two or more seeds.

    By Student's t, since 1.96 is for many: three seeds need 4.3, or one interval in five would miss.
    """
    values = np.asarray(means, dtype=np.float64)
    return student_t(values.size - 1) * float(values.std(ddof=1)) / math.sqrt(values.size)


def student_t(degrees: int) -> float:
    """The 97.5 % quantile of Student's t; above 9 degrees by Fisher and Cornish's expansion (1960)."""
    if degrees <= len(STUDENT_T):
        return STUDENT_T[degrees - 1]
    z = 1.959964
    first, second, third = z**3 + z, 5 * z**5 + 16 * z**3 + 3 * z, 3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z
    return z + first / (4 * degrees) + second / (96 * degrees**2) + third / (384 * degrees**3)
