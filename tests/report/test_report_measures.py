"""Numbers of a report: percent of an accuracy, and any unit of a squared error."""

import pytest

from metalearn.estimates import Estimate
from metalearn.report.reading.scores import ACCURACY, MSE, Score


@pytest.mark.parametrize(
    ("measure", "mean", "ci95", "expected"),
    [
        (ACCURACY, 0.98765, 0.0012, "98.77 ± 0.12"),
        (ACCURACY, 0.00004, 0.00002, "0.00 ± 0.00"),
        (MSE, 2.99612, 0.1, "2.9961 ± 0.1000"),
        (MSE, 0.05251, 0.00038, "0.0525 ± 0.0004"),
        (MSE, 0.0, 0.0, "0.0000 ± 0.0000"),
        (MSE, 1.2344e-5, 2.1e-6, "0.0000123 ± 0.0000021"),
        (MSE, 1.2344e-5, float("nan"), "0.0000123"),
    ],
)
def test_small_errors_keep_their_digits(measure: Score, mean: float, ci95: float, expected: str) -> None:
    assert measure.interval(Estimate(mean, 0.1, ci95, 100)) == expected


def test_small_differences_keep_their_digits() -> None:
    assert MSE.difference(-1.2344e-5, 2.1e-6) == "−0.0000123 ± 0.0000021"
    assert MSE.short_difference(-1.2344e-5) == "−0.000012"
    assert ACCURACY.difference(0.0123, 0.001) == "+1.23 ± 0.10"
