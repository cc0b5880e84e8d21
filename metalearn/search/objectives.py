"""Objectives of a search: numbers of a run, each to be made large or small."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from metalearn.estimates import SIGNS
from metalearn.formats import score as score_text
from metalearn.sweep.jobs import Job

Direction = Literal["maximize", "minimize"]

SCORE = "score"
SECONDS_PER_TASK = "seconds_per_task"
NAMES = (SCORE, SECONDS_PER_TASK)


@dataclass(frozen=True)
class Objective:
    """A number of a run."""

    name: str
    split: Literal["val", "test"]  # split of the episodes that it is of
    direction: Direction
    value: Callable[[Job], float | None]  # None where the run left none
    text: Callable[[float], str]


def objectives(names: Sequence[str], score: str) -> list[Objective]:
    """Returns the objectives of a search.

    Args:
        names: list of hydra.sweeper.objectives.
        score: name of the score at meta-val, "accuracy" or "mse".

    Raises ValueError for another name, or for none.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(f"hydra.sweeper.objectives={list(names)} must list some of {', '.join(NAMES)}, each once")
    by_name = {
        SCORE: Objective(
            score,
            "val",
            "maximize" if SIGNS[score] > 0 else "minimize",
            _score,
            lambda value: score_text(score, value),
        ),
        SECONDS_PER_TASK: Objective(
            SECONDS_PER_TASK, "test", "minimize", _seconds_per_task, lambda value: f"{value:.4g}"
        ),
    }
    return [by_name[name] for name in names]


def _score(job: Job) -> float | None:
    measured = job.score("val")
    return None if measured is None else measured.estimate.mean


def _seconds_per_task(job: Job) -> float | None:
    """Returns the time to adapt to a test task and to predict its queries.

    It is the sum of two medians over the test episodes, whose scores play no part. Algorithms that
    embed support and query together have no time for the first part alone.
    """
    result = job.result()
    seconds = None if result is None else result.seconds
    return None if seconds is None or seconds.predict is None else (seconds.adapt or 0.0) + seconds.predict
