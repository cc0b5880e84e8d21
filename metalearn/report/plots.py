"""The geometry of plots: numbers turned into places in percent of the plot, which the page then draws."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from metalearn.report.cells import Cell
from metalearn.report.comparison import Comparison
from metalearn.report.protocol import Column, Score, column
from metalearn.report.sheet import Text
from metalearn.report.tables import interval

MOST_POINTS = 150  # of a curve
MOST_COLOURS = 8  # the other curves are grey
MOST_DOTS = 40  # of a plot

Points = list[tuple[float, float]]
Series = dict[Text, list[Points]]
"""By the name of a method: a curve for each of its runs."""


class Tick(NamedTuple):
    at: float
    text: str


class Scale(NamedTuple):
    """From values to percent of the plot."""

    low: float
    high: float
    ticks: list[Tick]

    def at(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 2)


class Dot(NamedTuple):
    """A score with its interval, in percent of the plot."""

    name: Text
    value: str
    at: float
    low: float
    high: float
    published: float | None
    transductive: bool


@dataclass(frozen=True)
class DotPlot:
    title: str
    score: Score
    scale: Scale
    dots: list[Dot]
    num_left_out: int


class Curve(NamedTuple):
    """The line of one method; one path for each of its runs."""

    name: Text
    colour: int  # from 1; 0 is grey
    paths: list[str]  # the d of an SVG path
    points: str  # the same, as a dot at each point; empty where there are too many


@dataclass(frozen=True)
class LinePlot:
    title: str
    score: Score
    x_name: str
    x: Scale
    y: Scale
    curves: list[Curve]  # the coloured ones first

    @property
    def num_grey(self) -> int:
        return sum(curve.colour == 0 for curve in self.curves)


def scale(values: Iterable[float], *, num_ticks: int = 5, factor: int = 1) -> Scale:
    """A scale around the values, with ticks at 1, 2 or 5 times a power of ten of `factor` times them."""
    known = [value * factor for value in values]
    low, high = min(known), max(known)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / num_ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    low, high = first * step, last * step
    places = [(i * step, 100 * (i - first) / (last - first)) for i in range(first, last + 1)]
    ticks = [Tick(round(at, 2), f"{value:,.{digits}f}".replace("-", "−")) for value, at in places]
    return Scale(low / factor, high / factor, ticks)


def results(of: Column, comparison: Comparison) -> DotPlot | None:
    """The cells of a column, the best first; None when none completed."""
    cells = [cell for cell in comparison.in_column(of) if cell.completed]
    if not cells:
        return None
    shown = cells[:MOST_DOTS]
    numbers = [cell.published.value if cell.published else None for cell in shown]
    ends = [end for cell in shown for end in _ends(cell)]
    on = scale([*ends, *(number for number in numbers if number is not None)], factor=of.score.factor)
    dots = []
    for cell, number in zip(shown, numbers, strict=True):
        low, high = _ends(cell)
        dots.append(
            Dot(
                comparison.label(cell),
                interval(cell),
                on.at(cell.mean),
                on.at(low),
                on.at(high),
                None if number is None else on.at(number),
                cell.protocol.transductive,
            )
        )
    return DotPlot(str(of), of.score, on, dots, len(cells) - len(shown))


def validation_curves(comparison: Comparison) -> tuple[list[LinePlot], list[LinePlot]]:
    """The score on meta-val against steps and against seconds, for each data set and validation setting."""
    by_steps: dict[Column, Series] = {}
    by_seconds: dict[Column, Series] = {}
    for cell in comparison.cells:
        for run in cell.runs:
            on = column(run.result, cell.score, "val")
            curve = run.validations(cell.score.name)
            timed = [(one.seconds, one.score) for one in curve if one.seconds is not None]
            for of, points in ((by_steps, [(float(one.step), one.score) for one in curve]), (by_seconds, timed)):
                if points:
                    of.setdefault(on, {}).setdefault(comparison.label(cell), []).append(points)
    return (
        [lines(str(on), on.score, "training steps", series) for on, series in by_steps.items()],
        [lines(str(on), on.score, "seconds of training", series) for on, series in by_seconds.items()],
    )


def inner_steps(of: Column, comparison: Comparison) -> LinePlot | None:
    """The score after 0, 1, ... inner steps, the mean over seeds; None without such an algorithm."""
    series = {
        comparison.label(cell): [[(float(i), y) for i, y in enumerate(curve) if math.isfinite(y)]]
        for cell in comparison.in_column(of)
        if (curve := cell.score_by_step())
    }
    return lines(str(of), of.score, "inner steps", series) if series else None


def lines(title: str, score: Score, x_name: str, series: Series) -> LinePlot:
    """Curves of a score, those that reach the best value in colour."""
    points = [point for runs in series.values() for run in runs for point in run]
    x, y = scale([x for x, _ in points] + [0.0]), scale([y for _, y in points], factor=score.factor)
    best_first = sorted(series, key=lambda name: -max(y * score.sign for run in series[name] for _, y in run))
    curves = []
    for i, name in enumerate(best_first, 1):
        runs = [[(x.at(a), round(100 - y.at(b), 2)) for a, b in _thinned(run)] for run in series[name]]
        dotted = len(runs[0]) <= 12
        dots = "".join(f"M{a} {b}h0" for run in runs for a, b in run) if dotted and i <= MOST_COLOURS else ""
        paths = ["M" + "L".join(f"{a} {b}" for a, b in run) for run in runs]
        curves.append(Curve(name, i if i <= MOST_COLOURS else 0, paths, dots))
    return LinePlot(title, score, x_name, x, y, curves)


def _thinned(points: Points) -> Points:
    every = math.ceil(len(points) / MOST_POINTS)
    return points[::-1][::every][::-1]  # the last one stays


def _ends(cell: Cell) -> tuple[float, float]:
    half = cell.ci95 if math.isfinite(cell.ci95) else 0.0
    return max(cell.mean - half, 0.0), min(cell.mean + half, cell.score.ceiling)
