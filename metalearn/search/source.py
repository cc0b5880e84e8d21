"""The trials of a search as a source of jobs, one by one: each follows from those before."""

import time
from typing import final

from metalearn.search.best import Findings
from metalearn.search.trials import Trials
from metalearn.sweep.jobs import Job
from metalearn.sweep.loop import AbstractSource

FAILURES_IN_A_ROW = 5
"""Number of failed trials in a row after which the search itself counts as wrong."""

PATIENCE = 1.0
"""Seconds until a study that had no trial is asked again."""


@final
class TrialSource(AbstractSource):
    """A trial whenever there is room for one, until enough have finished.

    Args:
        jobs: empty; gets the jobs of this controller.
    """

    def __init__(self, trials: Trials, jobs: list[Job], findings: Findings) -> None:
        self._trials, self._jobs, self._findings = trials, jobs, findings
        self._failures, self._pending, self._next_look = 0, 0, 0.0
        self._is_over = False

    @property
    def is_over(self) -> bool:
        return self._is_over or self._failures >= FAILURES_IN_A_ROW

    @property
    def num_pending(self) -> int:
        return self._pending

    def next(self) -> Job | None:
        if self.is_over or time.monotonic() < self._next_look:
            return None
        job = self._trials.ask()
        if job is None:
            self._next_look = time.monotonic() + PATIENCE
            self._is_over = self._trials.is_over
        else:
            self._jobs.append(job)
        self._pending = self._trials.num_to_come
        return job

    def end(self, job: Job, *, again: bool) -> None:
        self._next_look = 0.0
        if not again and self._trials.tell(job):
            self._failures = self._failures + 1 if job.status == "failed" else 0
        self._findings.say_end(job, again=again)

    def look_after(self) -> None:
        self._trials.look_after()
