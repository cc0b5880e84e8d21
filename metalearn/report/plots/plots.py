"""Plots as the page draws them: rows and charts, with places in percent."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from metalearn.report.sheet import Text

Position = tuple[float, float]
"""From the left and from the top of a plot, in percent."""


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


class SvgPath(NamedTuple):
    """Path of SVG."""

    kind: str  # its class in page.css
    d: str
    legend: str = ""
    title: str = ""  # is shown below the pointer


class Row(NamedTuple):
    """Name, paths in a box 100 wide and 20 high, and a value."""

    name: Text
    paths: list[SvgPath]
    value: str


@dataclass(frozen=True)
class Rows:
    """Plot of rows over a common scale."""

    title: str
    caption: str
    rows: list[Row]
    scale: Scale | None = None  # None: no axis is drawn
    note: str = ""

    @property
    def kinds(self) -> list[str]:
        return [path.kind for row in self.rows for path in row.paths]


class Point(NamedTuple):
    """Numbered point; its name is in the legend."""

    number: int
    at: Position
    name: Text = Text("")


@dataclass(frozen=True)
class Chart:
    """Plot of paths and points in a box 100 wide and 100 high."""

    title: str
    caption: str
    label: str  # for readers who cannot see it
    x: Scale
    y: Scale
    paths: list[SvgPath]  # the last is on top
    points: list[Point]


def scale(values: Iterable[float], *, factor: int = 1) -> Scale:
    """Returns a scale around values.

    Its ticks are at 1, 2 or 5 times a power of ten, in units of `factor` times the values.
    """
    scaled = [value * factor for value in values]
    low, high = min(scaled), max(scaled)
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * largest:  # equal but for rounding; a squared error has any size
        margin = max(0.5, largest / 200)
        low, high = low - margin, high + margin
    rough = (high - low) / 5  # about five ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    low, high = first * step, last * step
    places = [(i * step, 100 * (i - first) / (last - first)) for i in range(first, last + 1)]
    ticks = [Tick(round(at, 2), f"{value:,.{digits}f}".replace("-", "−")) for value, at in places]
    return Scale(low / factor, high / factor, ticks)


def dots(places: Iterable[Position]) -> str:
    """Returns the d of an SVG path with a dot at each place."""
    return "".join(f"M{x} {y}h0" for x, y in places)


def steps(places: list[Position]) -> str:
    """Returns the d of an SVG path through places, in steps: to the right, then up or down."""
    (x, y), *rest = places
    return f"M{x} {y}" + "".join(f"H{x}V{y}" for x, y in rest)
