"""A sweep whose runs are shell commands."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from metalearn.sweep.control import watch_cancel
from metalearn.sweep.jobs import FreshProcess, Job
from metalearn.sweep.loop import JobList, Loop
from metalearn.sweep.screen import Screen
from metalearn.sweep.slots import Slots

PATIENCE = 400
"""Seconds after which something counts as stuck, even on a machine with much other work."""

DONE = """echo '{"status": "completed", "seconds": {}}' > result.json"""


class Sweep:
    """Sweep of shell scripts, each run in its job's folder; `started` lists the places of each."""

    def __init__(self, folder: Path, scripts: list[str]) -> None:
        self.jobs = [Job(i, [f"script={i}"], folder / str(i)) for i in range(len(scripts))]
        self.folder, self.scripts = folder, scripts
        self.started: list[tuple[int, tuple[str, ...]]] = []

    def run(
        self,
        slots: Slots | None = None,
        *,
        widths: dict[int, int | None] | None = None,
        timeout: float | None = None,
        retries: int = 0,
    ) -> signal.Signals | None:
        slots = slots or Slots(["a", "b"], gpu=False, threads=1)

        def start(job: Job, places: list[str], held: IO[str]) -> FreshProcess:
            self.started.append((job.number, tuple(places)))
            command = ["sh", "-c", f"cd {job.folder}; {self.scripts[job.number]}"]
            environment = {**os.environ, **slots.environment(places)}
            return FreshProcess(command, log=job.log, environment=environment, held=held)

        screen = Screen(self.jobs)
        return Loop(
            JobList(self.jobs, screen),
            slots=slots,
            start=start,
            processes=lambda job: (widths or {}).get(job.number, 1),
            screen=screen,
            timeout=timeout,
            retries=retries,
            is_cancelled=watch_cancel(self.folder),
        ).run()

    @property
    def statuses(self) -> list[str]:
        return [job.status for job in self.jobs]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
