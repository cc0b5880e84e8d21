"""Pareto front of a search with several objectives, and the geometry of its plot."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from metalearn.report.plots.plots import Scale, scale, steps
from metalearn.report.reading.scores import Score
from metalearn.report.reading.searches import Search, Trial


class Point(NamedTuple):
    """A trial of the front, in percent of the plot."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class ParetoPlot:
    """The score against the time; each path is the d of an SVG path."""

    title: str
    x_score: Score
    y_score: Score
    x: Scale
    y: Scale
    line: str  # through the front, in steps
    front: list[Point]
    others: str  # completed trials behind the front


def plot(search: Search) -> ParetoPlot | None:
    """Returns the plot of a search; None with one objective or without completed trials."""
    points = {trial.folder.name: trial.values[:2] for trial in search.of("completed") if len(trial.values) > 1}
    if not points:
        return None
    x_score, y_score = search.objectives[1], search.objectives[0]
    x = scale((cost for _, cost in points.values()), factor=x_score.factor)
    y = scale((score for score, _ in points.values()), factor=y_score.factor)
    places = {name: (x.at(cost), y.down(score)) for name, (score, cost) in points.items()}
    on_front = [trial.folder.name for trial in _best_second_first(search.front, x_score)]
    front = [Point(name, *places[name]) for name in on_front]
    line = steps([places[name] for name in on_front])
    others = "".join(f"M{a} {b}h0" for name, (a, b) in places.items() if name not in on_front)
    return ParetoPlot(search.name, x_score, y_score, x, y, line, front, others)


def _best_second_first(trials: Iterable[Trial], score: Score) -> list[Trial]:
    return sorted(trials, key=lambda trial: -score.sign * trial.values[1])
