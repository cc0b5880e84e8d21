"""The runs of a trial, one for each seed. The value of the trial is their mean.

They run one after another, so that each may be pruned by the mean of the seeds so far
(metalearn/run/trials/pruning.py). A bad trial thus costs a part of one run, not a part of each.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Self, final

from metalearn.run.directory.result import Status
from metalearn.sweep.jobs import Job


@final
class TrialRuns:
    """The jobs of a trial, which start in their order."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        self._rest = deque(jobs)
        self._is_running = False

    def next(self) -> Job | None:
        """Returns a job to start; None when there is none, now or ever. Skips finished ones."""
        while self._rest and self._may_go_on:
            job = self._rest.popleft()
            job.look()
            if not job.finished:
                self._is_running = True
                return job
        return None

    def end(self) -> None:
        """Notes that the started job has ended, as its status says."""
        self._is_running = False

    def looked(self) -> Self:
        """Returns the runs with their statuses read from their directories.

        A run with a damaged result has failed, as at the end of an attempt (Job.conclude).
        """
        for job in self.jobs:
            try:
                job.look()
            except ValueError as error:
                job.status, job.reason = "failed", str(error)
        return self

    @property
    def is_over(self) -> bool:
        """Whether no job runs and none is to come."""
        return not self._is_running and not (self._rest and self._may_go_on)

    @property
    def verdict(self) -> Status:
        """How the trial has ended."""
        for job in self.jobs:
            if job.status == "failed" or ((result := job.result()) and result.status == "failed"):
                return "failed"
        if any(job.status == "pruned" for job in self.jobs):
            return "pruned"
        return "completed" if all(job.status == "completed" for job in self.jobs) else "interrupted"

    def mean(self, value: Callable[[Job], float | None]) -> float | None:
        """Returns the mean over the runs; None where a run has no value."""
        values = [number for job in self.jobs if (number := value(job)) is not None]
        return sum(values) / len(values) if len(values) == len(self.jobs) else None

    @property
    def first_incomplete(self) -> Job:
        """The first run that did not complete, or the first of all."""
        return next((job for job in self.jobs if job.status != "completed"), self.jobs[0])

    @property
    def _may_go_on(self) -> bool:
        begun = (job for job in self.jobs if job not in self._rest)
        return not self._is_running and all(job.status == "completed" for job in begun)
