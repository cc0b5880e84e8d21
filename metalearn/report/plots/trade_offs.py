"""Plots of what a result costs, and of how the test episodes differ."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metalearn.report.comparing.cells import Cell, mean
from metalearn.report.comparing.comparison import Comparison
from metalearn.report.comparing.protocol import Column
from metalearn.report.plots.plots import MOST_DOTS, Scale, scale
from metalearn.report.reading.scores import Score
from metalearn.report.sheet import Text

BINS = 24
"""Bins of a histogram."""


class Mark(NamedTuple):
    """A method at its cost and its score, in percent of the plot; named by its number."""

    number: int
    name: Text
    x: float
    y: float


@dataclass(frozen=True)
class Scatter:
    """Scores against a cost, the best first."""

    title: str
    score: Score
    x_name: str
    x: Scale
    y: Scale
    marks: list[Mark]


class Histogram(NamedTuple):
    """Scores of the test episodes of a method: the d of a filled SVG path, 100 wide and 20 high."""

    name: Text
    value: str
    path: str


@dataclass(frozen=True)
class Histograms:
    """Histograms over a common scale, the best method first."""

    title: str
    score: Score
    scale: Scale
    rows: list[Histogram]


def scatters(column: Column, comparison: Comparison) -> list[Scatter]:
    """Returns the score against seconds of training and against parameters, where they differ."""
    found = []
    for x_name, cost in (("seconds of training", _seconds), ("parameters", _parameters)):
        costs = [(cell, cost(cell)) for cell in comparison.in_column(column) if cell.completed]
        costs = [(cell, x) for cell, x in costs if math.isfinite(x)]
        if len({x for _, x in costs}) < 2:
            continue
        x, y = scale([0.0, *(x for _, x in costs)]), scale([c.mean for c, _ in costs], factor=column.score.factor)
        marks = [Mark(i, comparison.label(cell), x.at(at), y.down(cell.mean)) for i, (cell, at) in enumerate(costs, 1)]
        found.append(Scatter(str(column), column.score, x_name, x, y, marks))
    return found


def histograms(column: Column, comparison: Comparison) -> Histograms | None:
    """Returns the distribution over the test episodes; None where no run left its episodes."""
    cells = comparison.in_column(column)[:MOST_DOTS]
    scores = [(cell, found) for cell in cells if (found := cell.episode_scores()) is not None and len(found) > 1]
    scores = [(cell, found) for cell, found in scores if np.isfinite(found).all()]
    if not scores:
        return None
    axis = scale([float(end) for _, found in scores for end in (found.min(), found.max())], factor=column.score.factor)
    rows = [Histogram(comparison.label(cell), _span(found, column.score), _path(found, axis)) for cell, found in scores]
    return Histograms(str(column), column.score, axis, rows)


def _seconds(cell: Cell) -> float:
    return mean(run.result.seconds.fit for run in cell.completed)


def _parameters(cell: Cell) -> float:
    return mean(run.result.num_parameters for run in cell.completed)


def _span(scores: np.ndarray, score: Score) -> str:
    """Returns the 5th and the 95th percentile."""
    low, high = np.quantile(scores, [0.05, 0.95])
    return f"{score.text(float(low))} to {score.text(float(high))}"


def _path(scores: np.ndarray, axis: Scale) -> str:
    counts, _ = np.histogram(scores, bins=BINS, range=(axis.low, axis.high))
    width, highest = 100 / BINS, counts.max()
    steps = [f"V{round(20 - 19 * count / highest, 2)}H{round(width * (i + 1), 2)}" for i, count in enumerate(counts)]
    return f"M0 20{''.join(steps)}V20Z"
