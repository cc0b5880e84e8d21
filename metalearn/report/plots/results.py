"""Plots of the results of a column: scores, their costs, and how the test episodes differ."""

import math

import numpy as np

from metalearn.report.comparing.cells import Cell, mean
from metalearn.report.comparing.comparison import Comparison
from metalearn.report.comparing.protocol import Column
from metalearn.report.plots.plots import Chart, Point, Row, Rows, Scale, SvgPath, dots, scale
from metalearn.report.reading.scores import Score

MOST_ROWS = 40
"""Most methods of a plot of rows."""

BINS = 24
"""Bins of a histogram."""


def intervals(column: Column, comparison: Comparison) -> Rows | None:
    """Plots each score with its interval, the best first; None where no run completed."""
    cells = [cell for cell in comparison.in_column(column) if cell.completed]
    if not cells:
        return None
    shown = cells[:MOST_ROWS]
    published = [cell.published.value for cell in shown if cell.published]
    ends = [end for cell in shown for end in (*_ends(cell), *cell.means)]
    axis = scale([*ends, *published], factor=column.score.factor)
    rows = [Row(comparison.label(cell), _paths(cell, axis), cell.score.interval(cell.estimate)) for cell in shown]
    left_out = len(cells) - len(shown)
    note = f"The best {len(shown)}; {left_out} more are in the table." if left_out else ""
    return Rows(str(column), f"meta-test {column.score.title}", rows, axis, note)


def scatters(column: Column, comparison: Comparison) -> list[Chart]:
    """Plots the score against seconds of training and against parameters, where they differ."""
    found = []
    for x_name, cost_of in (("seconds of training", _seconds), ("parameters", _parameters)):
        costs = [(cell, cost_of(cell)) for cell in comparison.in_column(column) if cell.completed]
        costs = [(cell, x) for cell, x in costs if math.isfinite(x)]
        if len({x for _, x in costs}) < 2:
            continue
        x, y = scale([0.0, *(x for _, x in costs)]), scale([c.mean for c, _ in costs], factor=column.score.factor)
        points = [
            Point(number, (x.at(cost), y.down(cell.mean)), comparison.label(cell))
            for number, (cell, cost) in enumerate(costs, 1)
        ]
        paths = [SvgPath("dot", dots([place]), title=name.text) for _, place, name in points]
        caption = f"meta-test {column.score.title}, against {x_name}"
        label = f"{column}: {column.score.name} against {x_name} of {len(points)} methods"
        found.append(Chart(str(column), caption, label, x, y, paths, points))
    return found


def histograms(column: Column, comparison: Comparison) -> Rows | None:
    """Plots the distribution over the test episodes; None where no run left its episodes."""
    cells = comparison.in_column(column)[:MOST_ROWS]
    scores = [(cell, found) for cell in cells if (found := cell.episode_scores()) is not None and len(found) > 1]
    scores = [(cell, found) for cell, found in scores if np.isfinite(found).all()]
    if not scores:
        return None
    axis = scale([float(end) for _, found in scores for end in (found.min(), found.max())], factor=column.score.factor)
    rows = [
        Row(comparison.label(cell), [SvgPath("histogram", _histogram(found, axis))], _span(found, column.score))
        for cell, found in scores
    ]
    of_what = f"{column.score.title} of the test episodes"
    caption = f"{of_what}, mean over the runs; on the right their 5th to 95th percentile"
    return Rows(str(column), caption, rows, axis)


def _paths(cell: Cell, axis: Scale) -> list[SvgPath]:
    """Draws the score of a cell: its interval, its runs, its mean and the published number."""
    low, high = map(axis.at, _ends(cell))
    dot = dots([(axis.at(cell.mean), 10)])
    paths = [SvgPath("interval", f"M{low} 10H{high}")]
    if len(cell.means) > 1:
        paths.append(SvgPath("seed", dots((axis.at(mean), 10) for mean in cell.means)))
    paths.append(SvgPath("dot", dot))
    if cell.protocol.transductive:
        paths.append(SvgPath("hole", dot))
    if cell.published:
        paths.append(SvgPath("published", f"M{axis.at(cell.published.value)} 2V18"))
    return paths


def _ends(cell: Cell) -> tuple[float, float]:
    half = cell.estimate.ci95 if math.isfinite(cell.estimate.ci95) else 0.0
    return max(cell.mean - half, 0.0), min(cell.mean + half, cell.score.ceiling)


def _seconds(cell: Cell) -> float:
    return mean(run.result.seconds.fit for run in cell.completed)


def _parameters(cell: Cell) -> float:
    return mean(run.result.num_parameters for run in cell.completed)


def _span(scores: np.ndarray, score: Score) -> str:
    """Returns the 5th and the 95th percentile."""
    low, high = np.quantile(scores, [0.05, 0.95])
    return f"{score.text(float(low))} to {score.text(float(high))}"


def _histogram(scores: np.ndarray, axis: Scale) -> str:
    counts, _ = np.histogram(scores, bins=BINS, range=(axis.low, axis.high))
    width, highest = 100 / BINS, counts.max()
    steps = [f"V{round(20 - 19 * count / highest, 2)}H{round(width * (i + 1), 2)}" for i, count in enumerate(counts)]
    return f"M0 20{''.join(steps)}V20Z"
