"""The geometry of plots: places in percent of the plot, which the page draws."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from metalearn.report.comparing.cells import Cell
from metalearn.report.comparing.comparison import Comparison
from metalearn.report.comparing.protocol import Column
from metalearn.report.reading.scores import Score
from metalearn.report.sheet import Text

MOST_DOTS = 40
"""Most methods of a plot."""


class Tick(NamedTuple):
    at: float
    text: str


class Scale(NamedTuple):
    """Maps values to percent of the plot."""

    low: float
    high: float
    ticks: list[Tick]

    def at(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def down(self, value: float) -> float:
        """Returns the distance of a value from the top of the plot, as SVG counts it."""
        return round(100 - self.at(value), 2)


class Dot(NamedTuple):
    """Score with its interval, in percent of the plot."""

    name: Text
    value: str
    at: float
    low: float
    high: float
    published: float | None
    transductive: bool
    seeds: list[float]  # score of each run, where there are several


@dataclass(frozen=True)
class DotPlot:
    title: str
    score: Score
    scale: Scale
    dots: list[Dot]
    num_left_out: int

    @property
    def has_published(self) -> bool:
        return any(dot.published is not None for dot in self.dots)


def scale(values: Iterable[float], *, factor: int = 1) -> Scale:
    """Returns a scale around values.

    Its ticks are at 1, 2 or 5 times a power of ten, in units of `factor` times the values.
    """
    scaled = [value * factor for value in values]
    low, high = min(scaled), max(scaled)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 5  # about five ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    low, high = first * step, last * step
    places = [(i * step, 100 * (i - first) / (last - first)) for i in range(first, last + 1)]
    ticks = [Tick(round(at, 2), f"{value:,.{digits}f}".replace("-", "−")) for value, at in places]
    return Scale(low / factor, high / factor, ticks)


def steps(places: list[tuple[float, float]]) -> str:
    """Returns the d of an SVG path through places, in steps: to the right, then up or down."""
    (x, y), *rest = places
    return f"M{x} {y}" + "".join(f"H{x}V{y}" for x, y in rest)


def results(column: Column, comparison: Comparison) -> DotPlot | None:
    """Returns the cells of a column, the best first; None where no run completed."""
    cells = [cell for cell in comparison.in_column(column) if cell.completed]
    if not cells:
        return None
    shown = cells[:MOST_DOTS]
    numbers = [cell.published.value if cell.published else None for cell in shown]
    ends = [end for cell in shown for end in (*_ends(cell), *cell.means)]
    axis = scale([*ends, *(number for number in numbers if number is not None)], factor=column.score.factor)
    dots = []
    for cell, number in zip(shown, numbers, strict=True):
        low, high = _ends(cell)
        dots.append(
            Dot(
                comparison.label(cell),
                cell.score.interval(cell.estimate),
                axis.at(cell.mean),
                axis.at(low),
                axis.at(high),
                None if number is None else axis.at(number),
                cell.protocol.transductive,
                [axis.at(mean) for mean in cell.means] if len(cell.means) > 1 else [],
            )
        )
    return DotPlot(str(column), column.score, axis, dots, len(cells) - len(shown))


def _ends(cell: Cell) -> tuple[float, float]:
    half = cell.estimate.ci95 if math.isfinite(cell.estimate.ci95) else 0.0
    return max(cell.mean - half, 0.0), min(cell.mean + half, cell.score.ceiling)
