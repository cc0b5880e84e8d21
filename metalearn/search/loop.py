"""The loop of a search: a trial to every free slot, without waiting for the others, until enough have finished."""

import signal
import time
from collections.abc import Callable

from metalearn.search.trials import Trials
from metalearn.sweep.jobs import Attempt, Job
from metalearn.sweep.schedule import POLL, Interrupts, Start, no_job_left_behind
from metalearn.sweep.screen import Screen
from metalearn.sweep.slots import Slots

FAILURES_IN_A_ROW = 5
"""After as many the search itself is taken to be wrong."""

PATIENCE = 1.0
"""Seconds until a study that had no trial for us is asked again."""


def run(
    trials: Trials,
    jobs: list[Job],
    *,
    slots: Slots,
    start: Start,
    processes: Callable[[Job], int | None],
    screen: Screen,
    say_end: Callable[[Job], None],
    timeout: float | None,
    retries: int,
) -> signal.Signals | None:
    """Search to the end. Returns the signal that ended it early.

    Args:
        jobs: empty; gets those of this controller, which `screen` shows.
        say_end: called with each job that has ended for good.
        processes, timeout, retries: as schedule.run has them.
    """
    running, waiting = list[Attempt](), list[Job]()
    failures, pending, next_look = 0, 0, 0.0
    with Interrupts() as interrupts, screen, no_job_left_behind(running):
        while True:
            interrupts.forward(running)
            for attempt in [one for one in running if one.ended(stopped=interrupts.received is not None)]:
                running.remove(attempt)
                slots.give_back(attempt.places)
                job, next_look = attempt.job, 0.0
                if attempt.may_be_retried and job.attempts <= retries and not interrupts.received:
                    waiting.append(job)
                    continue
                trials.tell(job)
                say_end(job)
                failures = failures + 1 if job.status == "failed" else 0
            stopping = interrupts.received is not None or failures >= FAILURES_IN_A_ROW
            if not running and stopping:
                break
            trials.look_after()
            if time.monotonic() >= next_look and not stopping:
                if not running and not waiting and trials.is_over:
                    break
                next_look = time.monotonic() + PATIENCE
                while slots.free and (job := waiting.pop() if waiting else trials.ask()):  # type: ignore[assignment]
                    if job not in jobs:
                        jobs.append(job)
                    places = slots.take(processes(job))
                    held = job.begin() if places else None
                    if places and held:
                        process = start(job, places, held)
                        running.append(Attempt(job, process, held=held, places=places, timeout=timeout))
                        continue
                    slots.give_back(places or [])
                    waiting.append(job)  # until a job of several devices has them all
                    break
                pending = max(0, trials.n_trials - trials.num_known)
            screen.show(running, pending=pending, elsewhere=0)
            time.sleep(POLL)
        for job in waiting:
            trials.tell(job)
    return interrupts.received
