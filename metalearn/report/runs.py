"""Finished runs, read from their directories."""

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metalearn.report.protocol import score
from metalearn.run import study_record

NOT_ENTERED = {".hydra", "checkpoints", "wandb"}


class Validation(NamedTuple):
    """One validation of a training."""

    step: int
    seconds: float | None  # of training up to it, where the run logged them
    score: float


@dataclass(frozen=True)
class Run:
    """A run directory with its result."""

    folder: Path
    result: dict[str, Any]  # of result.json
    setting: str = ""  # such as 20w1s, where this is of a test beside the main one

    @property
    def status(self) -> str:
        """As the result has it, but "diverged" where a run completed and its score is no finite number."""
        measured = score(self.result)
        diverged = measured is not None and self.result["test"][measured.name]["mean"] is None
        return "diverged" if diverged else self.result["status"]

    @property
    def completed(self) -> bool:
        return self.status == "completed"

    def episode_scores(self, name: str) -> np.ndarray | None:
        """One for each test episode, (E,); None when the run left none."""
        path = self.folder / (f"test_episodes_{self.setting}.npz" if self.setting else "test_episodes.npz")
        if not path.is_file():
            return None
        with np.load(path) as scores:
            return scores[name].astype(np.float64)

    def validations(self, name: str) -> list[Validation]:
        """The finite values of a score's validation curve in metrics.csv; empty when nothing was validated."""
        path = self.folder / "metrics.csv"
        if self.setting or not path.is_file():  # the training has one curve, which is the main test's
            return []
        with path.open(newline="") as file:
            rows = csv.reader(file)
            head = {name: i for i, name in enumerate(next(rows, []))}
            if f"val/{name}" not in head:
                return []
            step, value, seconds = head["step"], head[f"val/{name}"], head.get("val/seconds")
            return [
                Validation(
                    int(row[step]),
                    float(row[seconds]) if seconds is not None and row[seconds] else None,
                    float(row[value]),
                )
                for row in rows
                if row[value] and math.isfinite(float(row[value]))
            ]


class Found(NamedTuple):
    """What lies below some folders."""

    runs: list[Run]
    unfinished: list[Path]  # run directories that hold no result yet
    searches: list[Path]  # the folders of searches, whose trials are among the runs


def find(folders: Iterable[Path]) -> Found:
    """All that lies below some folders.

    Raises FileNotFoundError when a folder has no result, ValueError when a result is not one of metalearn.
    """
    runs: dict[Path, Run] = {}  # by resolved path: a folder inside another counts once
    unfinished: dict[Path, Path] = {}
    searches: dict[Path, Path] = {}
    for folder in folders:
        found = False
        for path, inner, files in _walk(folder):
            if study_record.NAME in files:
                searches[path.resolve()] = path
            if "result.json" in files:
                found = True
                runs[path.resolve()] = Run(path, _read(path / "result.json"))
            elif ".hydra" in inner:
                unfinished[path.resolve()] = path
        if not found:
            raise FileNotFoundError(f"there is no result.json below {folder}")
    tests = [of for run in runs.values() for of in _tests(run)]
    return Found(tests, list(unfinished.values()), list(searches.values()))


def _tests(run: Run) -> Iterator[Run]:
    """The run, and for each other setting that it was tested by the same with that test for its own."""
    result = {**run.result, "dataset": run.result.get("test_dataset") or run.result["dataset"]}
    yield replace(run, result=result)
    test = (result["episode"] or {}).get("test", {})
    for name, fields in result.get("evaluations", {}).items():
        way, shot = map(int, name.removesuffix("s").split("w"))
        other = {**test, "way": way, "shot": shot, "shots": "equal"}
        if other != test:
            episode = {**result["episode"], "test": other}
            yield replace(run, result={**result, "episode": episode, "test": fields, "published": None}, setting=name)


def _walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder with the names of what is in it: folders, then files. In the order of their names."""
    for place, inner, files in os.walk(folder):
        yield Path(place), inner, files
        inner[:] = sorted(set(inner) - NOT_ENTERED)


def _read(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text())
        known = result.keys() >= {"status", "algorithm", "dataset", "episode", "overrides", "test"}
    except (ValueError, AttributeError):
        known = False
    if not known:
        raise ValueError(f"{path} is not a result of metalearn")
    return result
