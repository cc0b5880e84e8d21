"""Loop of sweeps and searches: starts jobs of a source in free slots until none is left."""

import signal
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO, final

from metalearn.sweep.interrupts import Interrupts
from metalearn.sweep.jobs import AbstractProcess, Attempt, Job
from metalearn.sweep.screen import Screen, score
from metalearn.sweep.slots import Slots

POLL = 0.05  # seconds

Start = Callable[[Job, list[str], IO[str]], AbstractProcess]
"""Starts a job at some places; the process holds the lock."""


class AbstractSource(ABC):
    """Source of jobs, which learns how each has ended: a list, or a study that gives trials."""

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether no other job comes when all running ones have ended."""

    @property
    @abstractmethod
    def num_pending(self) -> int:
        """Number of jobs that are still to come."""

    @abstractmethod
    def next(self) -> Job | None:
        """Returns a job to start; None when there is none now."""

    @abstractmethod
    def end(self, job: Job, *, again: bool) -> None:
        """Receives a job that has ended; its status states how.

        Args:
            again: whether it starts once more, and comes here again.
        """

    @abstractmethod
    def look_after(self) -> None:
        """Does periodic work in every round of the loop, also while no slot is free."""


@final
class JobList(AbstractSource):
    """The unfinished jobs of a sweep, in their order."""

    def __init__(self, jobs: Sequence[Job], screen: Screen) -> None:
        self._rest = deque(job for job in jobs if not job.finished)
        self._screen = screen

    @property
    def is_over(self) -> bool:
        return not self._rest

    @property
    def num_pending(self) -> int:
        return len(self._rest)

    def next(self) -> Job | None:
        return self._rest.popleft() if self._rest else None

    def end(self, job: Job, *, again: bool) -> None:
        self._screen.say_end(f"job {job.number}", job, score(job), again=again)

    def look_after(self) -> None:
        """Does nothing, since no other process counts on this one."""


@final
class Loop:
    """Runs the jobs of a source, each of which notes how it has ended.

    Args:
        processes: number of processes of a job; None for as many as there are places.
        timeout: limit of an attempt in seconds, or None.
        retries: number of restarts of a failed job.
        is_cancelled: whether another process has asked to stop the sweep.
    """

    def __init__(
        self,
        source: AbstractSource,
        *,
        slots: Slots,
        start: Start,
        processes: Callable[[Job], int | None],
        screen: Screen,
        timeout: float | None,
        retries: int,
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._source, self._slots, self._screen = source, slots, screen
        self._start, self._processes = start, processes
        self._timeout, self._retries, self._is_cancelled = timeout, retries, is_cancelled
        self._running: list[Attempt] = []
        self._waiting: deque[Job] = deque()  # for another attempt, or for more places than are free
        self._elsewhere: list[Job] = []  # at work in another process

    def run(self) -> signal.Signals | None:
        """Runs to the end; returns the signal that ended it early."""
        with Interrupts() as interrupts, self._screen:
            try:
                while self._running or not (interrupts.received or self._is_over):
                    self._round(interrupts)
                    time.sleep(POLL)
            finally:  # jobs are left only when the loop itself fails
                for attempt in self._running:
                    attempt.process.send(signal.SIGTERM)
        return interrupts.received

    def _round(self, interrupts: Interrupts) -> None:
        if self._is_cancelled():
            interrupts.cancel()
        interrupts.forward(self._running)
        self._collect(stopped=interrupts.received is not None)
        self._source.look_after()
        if not interrupts.received:
            self._look_elsewhere()
            self._fill()
        pending = len(self._waiting) + self._source.num_pending
        self._screen.show(self._running, pending=pending, elsewhere=len(self._elsewhere))

    @property
    def _is_over(self) -> bool:
        return not self._waiting and not self._elsewhere and self._source.is_over

    def _collect(self, *, stopped: bool) -> None:
        """Frees the slots of attempts that have ended."""
        for attempt in [attempt for attempt in self._running if attempt.ended(stopped=stopped)]:
            self._running.remove(attempt)
            self._slots.give_back(attempt.places)
            job = attempt.job
            again = attempt.may_be_retried and job.attempts <= self._retries and not stopped
            if again:
                self._waiting.appendleft(job)
            self._source.end(job, again=again)

    def _look_elsewhere(self) -> None:
        """Takes back the jobs that another process has left, finished or not."""
        for job in [job for job in self._elsewhere if not job.is_at_work_elsewhere()]:
            self._elsewhere.remove(job)
            job.status, job.reason = "pending", ""
            job.look()
            if job.finished:
                self._source.end(job, again=False)
            else:
                self._waiting.append(job)

    def _fill(self) -> None:
        """Starts jobs while slots are free."""
        while self._slots.free and (job := self._waiting.popleft() if self._waiting else self._source.next()):
            places = self._slots.take(self._processes(job))
            if places is None:
                self._waiting.appendleft(job)
                return  # no other job overtakes, else a wide one would never start
            held = None if job.is_at_work_elsewhere() else job.begin()
            if held is None:
                self._slots.give_back(places)
                if job.finished:
                    self._source.end(job, again=False)
                    continue
                self._elsewhere.append(job)
                job.status, job.reason = "running", "by another process"
                continue
            process = self._start(job, places, held)
            self._running.append(Attempt(job, process, held=held, places=places, timeout=self._timeout))
