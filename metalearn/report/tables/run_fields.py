"""One row for each run: its settings, its result and its cost, as numbers of the files."""

from collections.abc import Callable
from typing import Any

from metalearn.formats import span
from metalearn.report.reading.runs import Run
from metalearn.run.directory.published import published
from metalearn.run.directory.result import Result

Field = tuple[str, Callable[[Any], Any]]
"""A column: its name, and the function that gives the value of a row."""


def _of(name: str) -> Callable[[Run], Any]:
    return lambda run: getattr(run.result, name)


def _seconds(name: str) -> Callable[[Run], float | None]:
    return lambda run: getattr(run.result.seconds, name)


def _published(run: Run) -> float | None:
    result: Result = run.result
    record, measured = published(result), result.measured("test")
    return record.number(measured.name) if record and measured else None


FIELDS: list[Field] = [
    ("run", lambda run: run.folder.name),
    *((name, _of(name)) for name in ("algorithm", "dataset", "backbone", "experiment")),
    ("way", lambda run: span(run.result.episode.test.way)),
    ("shot", lambda run: span(run.result.episode.test.shot)),
    *((name, _of(name)) for name in ("seed", "fold", "class_split")),
    ("overrides", lambda run: " ".join(run.result.overrides)),
    ("status", lambda run: run.status),
    ("measure", lambda run: (measured := run.result.measured("test")) and measured.name),
    ("test", lambda run: (measured := run.result.measured("test")) and measured.estimate.mean),
    ("test_ci95", lambda run: (measured := run.result.measured("test")) and measured.estimate.ci95),
    ("val", lambda run: (measured := run.result.measured("val")) and measured.estimate.mean),
    ("calibration_error", lambda run: run.result.test and run.result.test.calibration_error),
    ("published", _published),
    *((name, _of(name)) for name in ("best_step", "steps", "num_parameters", "peak_memory_bytes")),
    *((f"seconds_{name}", _seconds(name)) for name in ("fit", "test", "adapt", "predict")),
    ("git", _of("git")),
    ("folder", lambda run: str(run.folder)),
]
"""Columns; accuracies are fractions, times seconds, sizes bytes."""
