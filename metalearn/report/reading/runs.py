"""Reads finished runs from their directories."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metalearn.estimates import Estimate
from metalearn.formats import named_fields, one_line
from metalearn.report.reading.scores import SCORES
from metalearn.run.directory import study_record
from metalearn.run.directory.folder import RESULT, RunFolder
from metalearn.run.directory.result import EpisodeSetting, Measured, Result
from metalearn.run.directory.validations import Validation, ValidationCurve, validation_curve

OF_RUN = {".hydra", "checkpoints", "wandb"}
"""Folders of a run directory that hold no other runs."""


class EpisodeScores(NamedTuple):
    """Score of each test episode in test_episodes.npz: (E,); None where it cannot be read."""

    values: np.ndarray | None = None
    damage: str = ""  # empty for an intact file


@dataclass(frozen=True)
class Run:
    """Run directory with its result."""

    folder: Path
    result: Result
    setting: str = ""  # such as 20w1s, for a test beside the main one

    @property
    def status(self) -> str:
        """Status of the result; "diverged" where a loss or score of its test is not finite."""
        return "diverged" if self.result.test and self.result.test.diverged else self.result.status

    @property
    def completed(self) -> bool:
        return self.status == "completed"

    @property
    def never_started(self) -> bool:
        """Whether the run was refused: it failed before it had a model, without a checkpoint."""
        begun = self.result.steps is not None or self.result.num_parameters is not None
        return self.result.status == "failed" and not begun and not any(self.folder.glob("checkpoints/*.ckpt"))

    def estimate(self, name: str) -> Estimate:
        """Returns a score of the test, which must have been measured."""
        measured = self.result.measured("test")
        assert measured is not None and measured.name == name
        return measured.estimate

    def episode_scores(self) -> np.ndarray | None:
        """Returns the score of each test episode: (E,); None where they cannot be read."""
        return self._episode_scores.values

    def validations(self, name: str) -> Sequence[Validation]:
        """Returns the validation curve of a score; empty without a validation."""
        return self._curve.validations if self._curve.score == name else ()

    @property
    def damage(self) -> list[str]:
        """A line for each damaged file beside the result."""
        return [line for line in (self._episode_scores.damage, self._curve.damage) if line]

    @cached_property
    def _episode_scores(self) -> EpisodeScores:
        measured = self.result.measured("test")
        path = RunFolder(self.folder).episodes(self.setting)
        return _episode_scores(path, measured) if measured and path.is_file() else EpisodeScores()

    @cached_property
    def _curve(self) -> ValidationCurve:
        if self.setting:  # the curve of the training belongs to the main test
            return ValidationCurve()
        return validation_curve(RunFolder(self.folder).metrics, [measure.name for measure in SCORES])


class Found(NamedTuple):
    """Runs, searches and damaged files below some folders."""

    runs: list[Run]
    damaged: list[str]  # a line for each result that cannot be read
    unfinished: list[Path]  # run directories without a result
    searches: list[Path]  # folders of searches; their trials are among the runs


def find(folders: Iterable[Path]) -> Found:
    """Finds runs and searches. Raises FileNotFoundError for a folder without a result."""
    runs: dict[Path, list[Run]] = {}  # by resolved path, so that a folder inside another counts once
    damaged: dict[Path, str] = {}
    unfinished: dict[Path, Path] = {}
    searches: dict[Path, Path] = {}
    for folder in folders:
        found = False
        for path, inner, files in _walk(folder):
            if study_record.NAME in files:
                searches[path.resolve()] = path
            if RESULT in files:
                found = True
                try:
                    runs[path.resolve()] = _read(path)
                except (OSError, ValueError) as error:
                    damaged[path.resolve()] = str(error)
            elif ".hydra" in inner:
                unfinished[path.resolve()] = path
        if not found:
            raise FileNotFoundError(f"there is no result.json below {folder}")
    tests = [test for runs_of_folder in runs.values() for test in runs_of_folder]
    return Found(tests, list(damaged.values()), list(unfinished.values()), list(searches.values()))


def _read(folder: Path) -> list[Run]:
    """Reads the run of a folder; each further test setting gives one more run."""
    result = Result.from_json(RunFolder(folder).result)
    result = replace(result, dataset=result.test_dataset or result.dataset)
    tests = [Run(folder, result)]
    for name, evaluation in (result.evaluations or {}).items():
        try:
            other = _named(name, result.episode.test)
        except ValueError as error:
            raise ValueError(f"{RunFolder(folder).result} cannot be read: {error}") from error
        if other != result.episode.test:
            episode = replace(result.episode, test=other)
            # The cost of an episode was measured in the main test.
            seconds = result.seconds and replace(result.seconds, adapt=None, predict=None)
            own = replace(result, episode=episode, test=evaluation, published=None, further=None, seconds=seconds)
            tests.append(Run(folder, own, setting=name))
    return tests


def _episode_scores(path: Path, measured: Measured) -> EpisodeScores:
    name, num_episodes = measured.name, measured.estimate.num_episodes
    try:
        with path.open("rb") as file, np.load(file) as scores:
            values = np.asarray(scores[name], dtype=np.float64)
    except Exception as error:  # a damaged zip raises nearly anything
        return EpisodeScores(damage=f"{path} cannot be read: {one_line(error)}")
    if values.shape != (num_episodes,):
        why = f"has not one {name} for each of the {num_episodes} episodes"
        return EpisodeScores(damage=f"{path} {why}: {values.shape}")
    return EpisodeScores(values)


def _named(name: str, like: EpisodeSetting) -> EpisodeSetting:
    if (fields := named_fields(name)) is None:
        raise ValueError(f"evaluations has the key {name!r}; write 5-way 1-shot as 5w1s")
    return replace(like, **fields)


def _walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yields each folder once, its folders and its files; those behind links come last."""
    waiting, visited = deque([str(folder)]), set[str]()
    while waiting:
        for place, inner, files in os.walk(waiting.popleft()):
            if (real := os.path.realpath(place)) in visited:
                inner.clear()
                continue
            visited.add(real)
            yield Path(place), inner, files
            of_run = RESULT in files or ".hydra" in inner
            inner[:] = sorted(set(inner) - (OF_RUN if of_run else set()))
            waiting.extend(filter(os.path.islink, (os.path.join(place, name) for name in inner)))
