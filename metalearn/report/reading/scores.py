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

    def text(self, value: float) -> str:
        return "-" if math.isnan(value) else f"{self.factor * value:.{self.digits}f}"

    def interval(self, estimate: Estimate) -> str:
        """Formats mean ± 95 % interval, or the mean alone where there is no interval."""
        half = f" ± {self.text(estimate.ci95)}" if math.isfinite(estimate.ci95) else ""
        return self.text(estimate.mean) + half

    def signed(self, value: float, *, digits: int | None = None) -> str:
        places = self.digits if digits is None else digits
        return f"{self.factor * value:+.{places}f}".replace("-", "−")


ACCURACY = Score("accuracy", "accuracy %", 100, 2, SIGNS["accuracy"], 1.0)
MSE = Score("mse", "mean squared error", 1, 4, SIGNS["mse"], math.inf)
SCORES = (ACCURACY, MSE)


def score(result: Result) -> Score | None:
    """Returns the measure of a test; None for a run that was not tested."""
    measured = result.measured("test")
    return next(measure for measure in SCORES if measure.name == measured.name) if measured else None
