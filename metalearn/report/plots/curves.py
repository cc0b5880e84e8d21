"""Plots of curves: the mean of a method over its runs, and the band that its runs span."""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from metalearn.report.comparing.comparison import Comparison
from metalearn.report.comparing.protocol import Column, column
from metalearn.report.plots.plots import Position, Scale, dots, scale
from metalearn.report.reading.scores import Score
from metalearn.report.sheet import Text

MOST_POINTS = 150
"""Most points of a curve."""

MOST_DOTS = 12
"""Most points of a curve that has a dot at each."""

MOST_TOGETHER = 8
"""Most methods of one plot; of more, each has a small plot of its own, with the others in grey."""

LABEL = 6.5
"""Height of a label beside a plot, in percent of the plot."""

RunCurve = dict[int, tuple[float, float]]
"""Points of a run by their number, such as the step; equal numbers are averaged over the runs."""

Series = dict[Text, list[RunCurve]]
"""Curves of the runs of each method, by its name."""


class Curve(NamedTuple):
    """Curve of one method; `path` and `band` are the d of an SVG path."""

    name: Text
    colour: int  # from 1 to MOST_TOGETHER
    path: str  # mean over the runs
    band: str  # from the smallest to the largest run; empty with one run
    points: str  # dots on the mean; empty where there are too many
    end: float  # height of its label, in percent from below


@dataclass(frozen=True)
class LinePlot:
    """Curves of several methods, the best first."""

    title: str
    score: Score
    x_name: str
    x: Scale
    y: Scale
    curves: list[Curve]

    @property
    def is_split(self) -> bool:
        """Whether each method has a small plot of its own."""
        return len(self.curves) > MOST_TOGETHER

    @property
    def ident(self) -> str:
        """Name of the plot in the page, which no other plot has."""
        return re.sub(r"\W+", "-", f"{self.title} {self.x_name}")


def validation_curves(comparison: Comparison) -> tuple[list[LinePlot], list[LinePlot]]:
    """Returns the score on meta-val against steps and against seconds.

    There is a plot for each data set and validation setting.
    """
    by_steps: dict[Column, Series] = {}
    by_seconds: dict[Column, Series] = {}
    for cell in comparison.cells:
        for run in cell.completed or cell.runs:
            place = column(run.result, cell.score, "val")
            curve = run.validations(cell.score.name)
            stepped = {step: (float(step), score) for step, _, score in curve}
            timed = {step: (seconds, score) for step, seconds, score in curve if seconds is not None}
            for found, points in ((by_steps, stepped), (by_seconds, timed)):
                if points:
                    found.setdefault(place, {}).setdefault(comparison.label(cell), []).append(points)
    return _plots("training steps", by_steps), _plots("seconds of training", by_seconds)


def _plots(x_name: str, found: dict[Column, Series]) -> list[LinePlot]:
    return [plot for place, series in found.items() if (plot := lines(str(place), place.score, x_name, series))]


def inner_steps(column: Column, comparison: Comparison) -> LinePlot | None:
    """Returns the score after 0, 1, ... inner steps; None without such an algorithm."""
    series = {
        comparison.label(cell): [{i: (float(i), y) for i, y in enumerate(curve) if math.isfinite(y)}]
        for cell in comparison.in_column(column)
        if (curve := cell.score_by_step())
    }
    return lines(str(column), column.score, "inner steps", series)


def further(comparison: Comparison) -> list[LinePlot]:
    """Returns the curve of each further evaluation, such as the ROC curve of open_set."""
    found: dict[tuple[str, Column, str, str], Series] = {}
    for cell in comparison.cells:
        for measured in cell.further.values():
            for evaluation in measured.evaluations:
                curve = evaluation.curve
                place = evaluation.name, cell.column, curve.x_name, curve.y_name
                given = enumerate(zip(curve.x, curve.y, strict=True))
                points = {i: point for i, point in given if all(map(math.isfinite, point))}
                found.setdefault(place, {}).setdefault(comparison.label(cell), []).append(points)
    plots = (
        lines(f"{name} on {column}", Score(y_name, f"{y_name} %", 100, 2, 1, 1.0), x_name, series)
        for (name, column, x_name, y_name), series in found.items()
    )
    return [plot for plot in plots if plot]


def lines(title: str, score: Score, x_name: str, series: Series) -> LinePlot | None:
    """Returns the plot of a score, with mean and band of each method; None without a point."""
    merged = {name: found for name, runs in series.items() if (found := _merged(runs))}
    if not merged:
        return None
    every_row = [row for rows in merged.values() for row in rows]
    x = scale([row[0] for row in every_row] + [0.0])
    y = scale([value for _, *values in every_row for value in values], factor=score.factor)
    best_first = sorted(merged, key=lambda name: -max(mean * score.sign for _, _, mean, _ in merged[name]))
    ends = _spread([y.at(merged[name][-1][2]) for name in best_first])
    curves = []
    for i, name in enumerate(best_first):
        rows = [(x.at(a), *map(y.down, values)) for a, *values in _thinned(merged[name])]
        upper, lower = [(a, high) for a, _, _, high in rows], [(a, low) for a, low, _, _ in rows]
        mean = [(a, middle) for a, _, middle, _ in rows]
        band = f"{_path([*upper, *reversed(lower)])}Z" if len(series[name]) > 1 else ""
        points = dots(mean) if len(mean) <= MOST_DOTS else ""
        curves.append(Curve(name, i % MOST_TOGETHER + 1, _path(mean), band, points, ends[i]))
    return LinePlot(title, score, x_name, x, y, curves)


def _merged(runs: list[RunCurve]) -> list[tuple[float, float, float, float]]:
    """Returns mean x, smallest, mean and largest y, at the points that all runs have."""
    rows = []
    for number in runs[0]:
        if all(number in run for run in runs):
            xs, ys = zip(*(run[number] for run in runs), strict=True)
            rows.append((sum(xs) / len(xs), min(ys), sum(ys) / len(ys), max(ys)))
    return rows


def _path(places: list[Position]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in places) + ("h0" if len(places) == 1 else "")


def _spread(heights: list[float]) -> list[float]:
    """Moves labels apart, (C,) -> (C,): each at least LABEL above the next lower one."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    places, lowest = list(heights), -math.inf
    for i in order:
        places[i] = lowest = max(heights[i], lowest + LABEL)
    over = max(0.0, max(places) - 100)
    highest = math.inf
    for i in reversed(order):
        places[i] = highest = min(places[i], 100.0, highest - LABEL) if over else places[i]
    return [round(place, 2) for place in places]


def _thinned(rows: list[tuple[float, float, float, float]]) -> list[tuple[float, float, float, float]]:
    every = math.ceil(len(rows) / MOST_POINTS)
    return rows[::-1][::every][::-1]  # keeps the last one
