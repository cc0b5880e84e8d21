"""Scores, estimates and curves of a result.

Every command line imports them, so they do without NumPy.
"""

from typing import NamedTuple

SIGNS = {"accuracy": 1, "mse": -1}
"""Scores, and the direction of each: 1 where more is better, -1 where less is better."""


class Estimate(NamedTuple):
    """Mean over episodes or seeds, with its spread and 95 % interval.

    Examples:
        >>> Estimate(mean=0.98, std=0.03, ci95=0.002, num_episodes=600).ci95
        0.002
    """

    mean: float
    std: float  # sample standard deviation (n - 1)
    ci95: float  # half width of the 95 % interval, t * std / sqrt(n)
    num_episodes: int


class ErrorRate(NamedTuple):
    """Fraction of wrong trials, with Wilson's 95 % interval."""

    mean: float
    low: float
    high: float
    num_trials: int


class Curve(NamedTuple):
    """Points of a plot in a report."""

    x_name: str
    y_name: str
    x: list[float]
    y: list[float]
