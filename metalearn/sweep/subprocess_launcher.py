"""hydra/launcher=subprocess: runs jobs on the GPUs, or the cores, of this machine."""

import os
import sys
from pathlib import Path
from typing import IO, Literal, final

from metalearn.sweep.jobs import AbstractProcess, FreshProcess, Job, resuming
from metalearn.sweep.launcher import AbstractLauncher
from metalearn.sweep.slots import Slots, make_slots


@final
class SubprocessLauncher(AbstractLauncher):
    """See conf/hydra/launcher/subprocess.yaml for the arguments."""

    def __init__(
        self,
        slots: Literal["auto"] | int | list[int | str],
        *,
        threads: int | None,
        timeout: float | None,
        retries: int,
        preload: bool,
    ) -> None:
        super().__init__(timeout=timeout, retries=retries)
        self.slots = slots
        self.threads, self.preload = threads, preload

    def make_slots(self, sweep: Path) -> Slots:
        return make_slots(self.slots, self.threads)

    def start(self, slots: Slots, job: Job, places: list[str], held: IO[str]) -> AbstractProcess:
        environment = {**os.environ, **slots.environment(places), **job.environment, "PYTHONUNBUFFERED": "1"}
        arguments = [*self.arguments(job), *resuming(job.folder)]
        if self.preload:
            from metalearn.sweep.forks import ForkedProcess  # late, because --help must not wait for it

            return ForkedProcess(arguments, log=job.log, environment=environment, held=held)
        command = [sys.executable, "-m", "metalearn", *arguments]
        return FreshProcess(command, log=job.log, environment=environment, held=held)
