"""The loop of a sweep: jobs in their order to free slots, each in a process, until all have ended or a signal comes."""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any, Self, final

from metalearn.sweep.jobs import AbstractProcess, Attempt, Job
from metalearn.sweep.screen import Screen
from metalearn.sweep.slots import Slots

POLL = 0.05  # seconds

Start = Callable[[Job, list[str], IO[str]], AbstractProcess]
"""Start a job at some places; the process is to hold the lock."""


def run(
    jobs: Sequence[Job],
    *,
    slots: Slots,
    start: Start,
    processes: Callable[[Job], int | None],
    screen: Screen,
    timeout: float | None,
    retries: int,
) -> signal.Signals | None:
    """Run the jobs that are not finished; what has become of each stands in it. Returns the signal that ended it early.

    Args:
        processes: how many a job has; None for as many as there are places.
        timeout: seconds of an attempt; None for no limit.
        retries: how often a failed job is begun again.
    """
    waiting, running = deque(job for job in jobs if not job.finished), list[Attempt]()
    elsewhere: list[Job] = []
    with Interrupts() as interrupts, screen, no_job_left_behind(running):
        while running or ((waiting or elsewhere) and not interrupts.received):
            interrupts.forward(running)
            for attempt in [one for one in running if one.ended(stopped=interrupts.received is not None)]:
                running.remove(attempt)
                slots.give_back(attempt.places)
                job = attempt.job
                again = attempt.may_be_retried and job.attempts <= retries and not interrupts.received
                screen.say_end(job, again=again)
                if again:
                    waiting.appendleft(job)
            for job in [job for job in elsewhere if not job.is_at_work_elsewhere()]:
                elsewhere.remove(job)
                job.status = "pending"
                job.look()
                if job.finished:
                    job.before = False
                    screen.say_end(job, again=False)
                else:
                    job.reason = ""
                    waiting.append(job)
            while waiting and not interrupts.received:
                job = waiting[0]
                places = slots.take(processes(job))
                if places is None:
                    break  # no other job overtakes, or a wide one would never start
                waiting.popleft()
                held = None if job.is_at_work_elsewhere() else job.begin()
                if held is None:
                    slots.give_back(places)
                    elsewhere.append(job)
                    job.status, job.reason = "running", "by another process"
                    continue
                process = start(job, places, held)
                running.append(Attempt(job, process, held=held, places=places, timeout=timeout))
            screen.show(running, pending=len(waiting), elsewhere=len(elsewhere))
            time.sleep(POLL)
    return interrupts.received


@contextmanager
def no_job_left_behind(running: Sequence[Attempt]) -> Iterator[None]:
    """When the loop itself fails, its jobs are told to stop."""
    try:
        yield
    finally:
        for attempt in running:
            attempt.process.send(signal.SIGTERM)


@final
class Interrupts:
    """Context in which the first signal asks all jobs to stop, as it asked us, and a second one kills them."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._second = False
        self._forwarded: list[tuple[Attempt, bool]] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(one) is not signal.SIG_IGN:  # under nohup a closed terminal ends nothing
                    self._before[one] = signal.signal(one, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._second = self.received is not None
        self.received = self.received or signal.Signals(number)

    def forward(self, running: Sequence[Attempt]) -> None:
        """Pass on what has come since the last call."""
        if self.received is None:
            return
        # A run watches for SIGTERM and SIGINT; a closed terminal is told it as SIGTERM.
        sent = signal.SIGKILL if self._second else signal.SIGINT if self.received == signal.SIGINT else signal.SIGTERM
        for attempt in running:
            if (attempt, self._second) not in self._forwarded:
                self._forwarded.append((attempt, self._second))
                attempt.process.send(sent)
