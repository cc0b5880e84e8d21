"""A job as an actor of Ray, which has the job's share of a node and runs its command there."""

import os
import signal
import time
from pathlib import Path
from typing import Any, final

import ray
from ray.exceptions import RayError

from metalearn.sweep.jobs import AbstractProcess, FreshProcess

POLL = 0.1  # seconds


@final
class Worker:
    """What runs on the node; made to an actor with a thread for each of its methods."""

    def __init__(self) -> None:
        self._process: FreshProcess | None = None

    def run(self, command: list[str], *, log: Path, environment: dict[str, str], folder: Path) -> int:
        """Run a command in a folder to its end; returns the exit code."""
        os.chdir(folder)
        self._process = FreshProcess(command, log=log, environment={**os.environ, **environment}, held=None)
        while (code := self._process.exit_code()) is None:
            time.sleep(POLL)
        return code

    def send(self, sent: signal.Signals) -> None:
        if self._process is not None:
            self._process.send(sent)


@final
class RayProcess(AbstractProcess):
    """A command with its output in a file, where Ray has `num_cpus` and `num_gpus` for it."""

    def __init__(
        self,
        command: list[str],
        *,
        log: Path,
        environment: dict[str, str],
        folder: Path,
        num_cpus: float,
        num_gpus: float,
    ) -> None:
        worker: Any = ray.remote(Worker)
        self._actor = worker.options(num_cpus=num_cpus, num_gpus=num_gpus, max_concurrency=2).remote()
        self._placed = self._actor.__ray_ready__.remote()
        self._ended = self._actor.run.remote(command, log=log, environment=environment, folder=folder)
        self._code: int | str | None = None

    def exit_code(self) -> int | str | None:
        if self._code is None and _is_there(self._ended):
            try:
                self._code = int(ray.get(self._ended))
            except RayError as error:
                self._code = "Ray: " + str(error).strip().partition("\n")[0]
            ray.kill(self._actor)  # gives its share back
        return self._code

    def send(self, sent: signal.Signals) -> None:
        if self._code is None:
            if _is_there(self._placed):
                self._actor.send.remote(sent)
            else:
                ray.kill(self._actor)


def _is_there(result: Any) -> bool:
    return bool(ray.wait([result], timeout=0)[0])
