"""The score of a result, and its form in a report."""

import math
from typing import NamedTuple

from metalearn.estimates import SIGNS, Estimate
from metalearn.run.directory.result import Result


class Score(NamedTuple):
    """Measure of a test, and its form in a report."""

    name: str
    title: str
    factor: int  # from the number in a file to the number in a report
    digits: int
    sign: int  # +1 where more is better, -1 where less is better
    ceiling: float
    significant: int = 0  # fewest digits of a small number; targets of a regression have any unit

    def text(self, value: float) -> str:
        return "-" if math.isnan(value) else f"{self.factor * value:.{self._places(value)}f}"

    def interval(self, estimate: Estimate) -> str:
        """Formats mean ± 95 % interval, or the mean alone where there is no interval."""
        return self._with_half(estimate.mean, estimate.ci95, "")

    def difference(self, mean: float, ci95: float) -> str:
        """Formats mean ± 95 % interval of a difference, with its sign."""
        return self._with_half(mean, ci95, "+").replace("-", "−")

    def short_difference(self, value: float) -> str:
        """Formats a difference with one digit less, and its sign."""
        return f"{self.factor * value:+.{max(self._places(value) - 1, 0)}f}".replace("-", "−")

    def _with_half(self, mean: float, ci95: float, sign: str) -> str:
        if math.isnan(mean):
            return "-"
        places = self._places(mean, ci95)
        half = f" ± {self.factor * ci95:.{places}f}" if math.isfinite(ci95) else ""
        return f"{self.factor * mean:{sign}.{places}f}{half}"

    def _places(self, *values: float) -> int:
        """Returns the number of decimals, by the largest of the values."""
        largest = max((self.factor * abs(value) for value in values if math.isfinite(value)), default=0)
        if largest == 0 or not self.significant:
            return self.digits
        return max(self.digits, self.significant - 1 - math.floor(math.log10(largest)))


ACCURACY = Score("accuracy", "accuracy %", 100, 2, SIGNS["accuracy"], 1.0)
MSE = Score("mse", "mean squared error", 1, 4, SIGNS["mse"], math.inf, significant=3)
SCORES = (ACCURACY, MSE)


def score(result: Result) -> Score | None:
    """Returns the measure of a test; None for a run that was not tested."""
    measured = result.measured("test")
    return next(measure for measure in SCORES if measure.name == measured.name) if measured else None
