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
