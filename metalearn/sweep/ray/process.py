"""A job as an actor of Ray, which has the job's share of a node and runs its command there."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, final
from uuid import uuid4

import ray
from ray.exceptions import RayActorError, RayError

from metalearn.formats import first_line
from metalearn.sweep import submitted
from metalearn.sweep.jobs import AbstractProcess, FreshProcess
from metalearn.sweep.ray.queue import NAMESPACE
from metalearn.sweep.submitted import Submitted

POLL = 0.1  # seconds


class Request(NamedTuple):
    """A command, where it runs, and the share of a node that it has."""

    command: list[str]
    log: Path
    environment: dict[str, str]
    folder: Path
    share: dict[str, float]  # num_cpus and num_gpus, of one node

    def begin(self) -> FreshProcess:
        """Starts the command here."""
        os.chdir(self.folder)
        environment = {**os.environ, **self.environment}
        return FreshProcess(self.command, log=self.log, environment=environment, held=None)


@final
class Worker:
    """Process of a node that runs a command from its creation on.

    A method call to begin it would be lost with the process that made it, before the actor has
    room.

    Args:
        request: its command.
        is_left: whether nobody waits for the command, so that the actor ends with it.
    """

    def __init__(self, request: Request, *, is_left: bool = False) -> None:
        self._process = request.begin()
        if is_left:
            threading.Thread(target=self._end_with_command, daemon=True).start()

    def wait(self) -> int:
        """Returns the exit code of the command after its end."""
        while (code := self._process.exit_code()) is None:
            time.sleep(POLL)
        return code

    def send(self, sent: signal.Signals) -> None:
        self._process.send(sent)

    def _end_with_command(self) -> None:
        self.wait()
        os._exit(0)


@final
class RayProcess(AbstractProcess):
    """A command with its output in a file, where Ray has room for it."""

    def __init__(self, request: Request) -> None:
        worker: Any = ray.remote(Worker)
        self._actor = worker.options(**request.share, max_concurrency=2).remote(request)  # waits, and sends meanwhile
        self._begun = self._actor.__ray_ready__.remote()
        self._ended = self._actor.wait.remote()
        self._code: int | str | None = None

    def exit_code(self) -> int | str | None:
        if self._code is None and _is_there(self._ended):
            try:
                self._code = int(ray.get(self._ended))
            except RayError as error:
                self._code = f"Ray: {_reason(error)}"
            ray.kill(self._actor)  # gives its share back
        return self._code

    def send(self, sent: signal.Signals) -> None:
        if self._code is None:
            if _is_there(self._begun):
                self._actor.send.remote(sent)
            else:
                ray.kill(self._actor)


def detach(request: Request, folder: Path) -> None:
    """Leaves a command to the cluster, and a record of it in the folder of its job."""
    worker: Any = ray.remote(Worker)
    name = f"{folder.parent.name}/{folder.name}-{uuid4().hex[:8]}"
    worker.options(**request.share, name=name, namespace=NAMESPACE, lifetime="detached").remote(request, is_left=True)
    submitted.note(folder, Submitted("ray", name, ray.get_runtime_context().gcs_address))


def _reason(error: RayError) -> str:
    """Returns one line; where the command could not begin, the last one of Ray's traceback."""
    is_refused = isinstance(error, RayActorError) and error.actor_init_failed
    return str(error).strip().rpartition("\n")[2] if is_refused else first_line(error)


def _is_there(result: Any) -> bool:
    return bool(ray.wait([result], timeout=0)[0])
