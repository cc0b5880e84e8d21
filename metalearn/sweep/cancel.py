"""Cancel of a sweep: its controllers stop, then the jobs that have none."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from metalearn.run.directory.claim import LOCK, owner
from metalearn.sweep import standing, submitted
from metalearn.sweep.control import is_attended, request_cancel
from metalearn.sweep.jobs import Job

POLL = 0.3  # seconds


def cancel(sweep: Path) -> list[str]:
    """Ends the jobs at work, which save as on SIGTERM, and keeps the others from starting.

    Returns a line for each job that can be stopped on another machine only.
    """
    request_cancel(sweep)
    while is_attended(sweep):  # controllers wait for their jobs
        time.sleep(POLL)
    asked = set[Path]()
    while at_work := [job for job in standing.jobs(sweep) if job.is_at_work_elsewhere()]:
        # A run takes a second signal as a reason not to save.
        asked |= _stop([job for job in at_work if job.folder not in asked])
        away = _elsewhere(at_work)
        if len(away) == len(at_work):
            return away
        time.sleep(POLL)
    return []


def _stop(jobs: Sequence[Job]) -> set[Path]:
    """Asks jobs without a controller to stop; returns those whose process is known."""
    records = {job.folder: submitted.read(job.folder) for job in jobs}
    queued = {
        folder: record for folder, record in records.items() if record is not None and submitted.is_submitted(folder)
    }
    submitted.stop(queued.values())
    runs = {job.folder: owner(job.folder / LOCK) for job in jobs if job.folder not in queued}
    here = {folder: run.pid for folder, run in runs.items() if run is not None and run.is_here}
    for pid in here.values():
        with suppress(ProcessLookupError):
            leads_group = os.getpgid(pid) == pid
            (os.killpg if leads_group else os.kill)(pid, signal.SIGTERM)
    return {*queued, *here}


def _elsewhere(jobs: Sequence[Job]) -> list[str]:
    owners = [(job, owner(job.folder / LOCK)) for job in jobs]
    return [
        f"job {job.folder.name} runs on {run.host} as process {run.pid}: cancel it there"
        for job, run in owners
        if run is not None and not run.is_here and not submitted.is_submitted(job.folder)
    ]
