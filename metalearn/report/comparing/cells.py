"""Cells of a table: averages of runs that differ only in their seed."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np

from metalearn.estimates import Estimate
from metalearn.report.comparing.protocol import Column, Method, Protocol, episodes_hash
from metalearn.report.reading.runs import Run
from metalearn.report.reading.scores import Score
from metalearn.run.directory.published import published
from metalearn.run.directory.result import Further
from metalearn.stats import estimate


class Published(NamedTuple):
    """Published number with its source."""

    value: float
    source: str


@dataclass(frozen=True)
class Cell:
    """Runs of one method in one column under one protocol."""

    column: Column
    method: Method
    protocol: Protocol
    tests: list[Run]  # all runs, also several of one seed

    @cached_property
    def runs(self) -> list[Run]:
        """One run for each seed and fold: a completed one first, then a training, then the last."""
        ranked = sorted(self.tests, key=lambda run: (run.completed, run.result.seconds.fit is not None))
        chosen = {(run.result.seed, run.result.fold or 0, run.result.class_split or 0): run for run in ranked}
        return [chosen[repeat] for repeat in sorted(chosen)]

    def naming_splits(self) -> "Cell":
        """Returns the cell with the class splits of its mean in its protocol."""
        splits = {split for run in self.completed if (split := run.result.class_split) is not None}
        return replace(self, protocol=self.protocol._replace(class_splits=tuple(sorted(splits))))

    @property
    def repeats(self) -> str:
        """Difference between the runs: "seed", "fold" of a cross-validation, or "class split".

        It is "run" for folds or class splits of several seeds.
        """
        seeds, splits = ({getattr(run.result, name) for run in self.runs} for name in ("seed", "class_split"))
        if self.runs[0].result.fold is None and len(splits) == 1:
            return "seed"
        classes = "class split" if len(splits) > 1 else "fold"
        return classes if len(seeds) == 1 else "run"

    @cached_property
    def further(self) -> dict[str, "Cell"]:
        """Cells of the completed runs with a further evaluation, by its name."""
        tests: dict[str, list[Run]] = {}
        for run in self.tests:
            if run.completed and run.result.further is not None:
                tests.setdefault(run.result.further.name, []).append(run)
        return {name: replace(self, tests=measured) for name, measured in tests.items()}

    @property
    def evaluations(self) -> list[Further]:
        """Further evaluations of the runs."""
        return [run.result.further for run in self.runs if run.result.further is not None]

    @cached_property
    def completed(self) -> list[Run]:
        return [run for run in self.runs if run.completed]

    @property
    def score(self) -> Score:
        return self.column.score

    @property
    def means(self) -> list[float]:
        """Score of each completed run."""
        return [run.estimate(self.score.name).mean for run in self.completed]

    @cached_property
    def estimate(self) -> Estimate:
        """Score of all completed runs."""
        return over_runs([run.estimate(self.score.name) for run in self.completed])

    @property
    def mean(self) -> float:
        return self.estimate.mean

    @property
    def others(self) -> dict[str, int]:
        """Number of incomplete runs, by their status."""
        return Counter(run.status for run in self.runs if not run.completed)

    @property
    def ends(self) -> list[str]:
        """Words for the incomplete runs, such as "2 failed"."""
        return [f"{count} {status}" for status, count in sorted(self.others.items())]

    @property
    def published(self) -> Published | None:
        records = [record for run in self.runs if (record := published(run.result))]
        numbers = ((record.number(self.score.name), record.source or "no source") for record in records)
        return next((Published(value, source) for value, source in numbers if value is not None), None)

    @property
    def episodes(self) -> dict[str, Fraction]:
        """Hashes of the test episodes, each with its share of the completed runs.

        Methods with several seeds on one fold and one on another weigh the folds otherwise. Empty
        if a run has no hash.
        """
        runs = Counter(episodes_hash(run.result) or "" for run in self.completed)
        return {} if "" in runs else {hashed: Fraction(count, runs.total()) for hashed, count in runs.items()}

    def episode_scores(self) -> np.ndarray | None:
        """Returns the score of each test episode, mean over the seeds: (E,).

        None where a run left no such file.
        """
        arrays = [run.episode_scores() for run in self.completed]
        readable = [array for array in arrays if array is not None]
        same = len(readable) == len(arrays) > 0 and len({array.shape for array in readable}) == 1
        return np.mean(readable, axis=0) if same else None

    def score_by_step(self) -> list[float] | None:
        """Returns the score after 0, 1, ... inner steps, mean over the seeds.

        NaN where a run has none; None for an algorithm without inner steps.
        """
        curves = [(run.result.test and run.result.test.by_step) or [] for run in self.completed]
        same = all(curves) and len({len(curve) for curve in curves}) == 1
        return [float(value) for value in np.mean(curves, axis=0)] if same else None


def over_runs(estimates: Sequence[Estimate]) -> Estimate:
    """Estimates a score over several runs; one run keeps its interval, none has NaN."""
    if not estimates:
        return Estimate(math.nan, math.nan, math.nan, 0)
    return estimates[0] if len(estimates) == 1 else estimate([measured.mean for measured in estimates])


def mean(values: Iterable[float | None]) -> float:
    """Returns the mean of the values that are not None; NaN without any."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else math.nan


def number(value: float, form: str) -> str:
    """Formats a mean; NaN is a dash."""
    return "-" if math.isnan(value) else format(value, form)


def best_first(cell: Cell | None) -> tuple[bool, float]:
    """Returns a key to sort cells: the best first, cells without a result last."""
    value = math.nan if cell is None else cell.mean
    return math.isnan(value), 0.0 if cell is None or math.isnan(value) else -value * cell.score.sign
