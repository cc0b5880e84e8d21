"""hydra/launcher=subprocess: runs jobs on the GPUs, or the cores, of this machine."""

import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, final

from omegaconf import ListConfig

from metalearn.sweep.launcher import AbstractLauncher

if TYPE_CHECKING:  # late, because --help must not wait for it
    from metalearn.sweep.jobs import AbstractProcess, Job
    from metalearn.sweep.slots import Slots


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

    def make_slots(self, sweep: Path) -> "Slots":
        from metalearn.sweep.slots import make_slots

        return make_slots(list(self.slots) if isinstance(self.slots, ListConfig) else self.slots, self.threads)

    def start(self, slots: "Slots", job: "Job", places: list[str], held: IO[str]) -> "AbstractProcess":
        from metalearn.sweep.forks import ForkedProcess
        from metalearn.sweep.jobs import FreshProcess, resuming

        environment = {**os.environ, **slots.environment(places), **job.environment, "PYTHONUNBUFFERED": "1"}
        arguments = [*self.arguments(job), *resuming(job.folder)]
        if self.preload:
            return ForkedProcess(arguments, log=job.log, environment=environment, held=held)
        command = [sys.executable, "-m", "metalearn", *arguments]
        return FreshProcess(command, log=job.log, environment=environment, held=held)
