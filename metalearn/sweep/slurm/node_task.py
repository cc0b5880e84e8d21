"""Work of a node of a cluster: the commands of its jobs, again in their directories when requeued.

submitit alone decides on a requeue. Its handlers are in this process, which only waits. Each run is
another process, which knows SIGTERM and SIGINT and nothing of queues.
"""

import atexit
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, final

from metalearn.run.directory.folder import RunFolder
from metalearn.sweep.jobs import FreshProcess, resuming

if TYPE_CHECKING:  # late: an extra
    from submitit.core.utils import DelayedSubmission

POLL = 0.1  # seconds
END = 600.0
"""Seconds in which SLURM kills, or requeues, a job that it has sent SIGTERM."""

STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)
"""Exit codes of a run that has saved on SIGTERM."""


class _EndedBefore(Exception):
    """All runs had ended when they were to be preempted."""


class JobCommand(NamedTuple):
    """The command of a job, for any node."""

    arguments: list[str]  # arguments of metalearn, without those that resume
    folder: Path  # directory of the job
    environment: dict[str, str]  # additions to that of the node


@final
class NodeTask:
    """The jobs of one allocation, at the same time, for submitit to call.

    Args:
        commands: one, which may have several ranks, or several of one process each.
        codes: exit codes of those that have ended before a requeue.
    """

    def __init__(self, commands: Sequence[JobCommand], codes: Sequence[int | None] | None = None) -> None:
        self._commands = list(commands)
        self._codes = list(codes or [None] * len(self._commands))
        self._processes: dict[int, FreshProcess] = {}
        self._received: signal.Signals | None = None

    def __call__(self) -> list[int]:
        """Runs all to their ends; returns the exit codes."""
        try:
            codes = self._run()
        except _EndedBefore:
            codes = self._wait()
        if self._received == signal.SIGTERM and os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
            time.sleep(END)  # a task that ends by itself is not requeued after a preemption
        if failed := [code for code in codes if code]:
            # With that code the batch system shows the job as failed, and ends its other ranks.
            atexit.register(os._exit, failed[0] if failed[0] > 0 else 128 - failed[0])
        return codes

    def checkpoint(self) -> "DelayedSubmission":
        """Stops the runs after their last checkpoints; returns the call after the requeue.

        submitit calls it in its signal handler, on rank 0: when the job is preempted or its time
        ends.
        """
        from submitit.core.utils import DelayedSubmission

        self._send(signal.SIGTERM)
        if self._processes and not any(code in STOPPED for code in self._wait()):
            raise _EndedBefore
        ended = [None if code in STOPPED else code for code in self._codes]
        return DelayedSubmission(NodeTask(self._commands, ended))

    def _run(self) -> list[int]:
        from submitit import JobEnvironment

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._forward)
        for index, command in enumerate(self._commands):
            if self._codes[index] is None and RunFolder(command.folder).is_finished():
                self._codes[index] = 0
            elif self._codes[index] is None and self._received is None:
                self._processes[index] = _start(command, JobEnvironment().global_rank, JobEnvironment.USR_SIG)
        if self._received is not None:
            self._send(self._received)
        return self._wait()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        self._send(self._received)

    def _send(self, sent: signal.Signals) -> None:
        for process in self._processes.values():
            if process.exit_code() is None:
                process.send(sent)

    def _wait(self) -> list[int]:
        """Returns the exit codes; 128 + signal for a job that a signal kept from starting."""
        while any(process.exit_code() is None for process in self._processes.values()):
            time.sleep(POLL)
        self._codes = [
            process.exit_code() if (process := self._processes.get(index)) else code
            for index, code in enumerate(self._codes)
        ]
        unstarted = 128 + (self._received or signal.SIGTERM)
        return [unstarted if code is None else code for code in self._codes]


def _start(command: JobCommand, rank: int, ignored: str) -> FreshProcess:
    """Starts the run of a rank, which ignores the signal that is for submitit and reaches all."""
    deaf = ["sh", "-c", f"trap '' {ignored}; exec \"$@\"", "sh"]
    words = [*deaf, sys.executable, "-m", "metalearn", *command.arguments, *resuming(command.folder)]
    log = RunFolder(command.folder).output
    if rank == 0:
        RunFolder(command.folder).result.unlink(missing_ok=True)  # result before the requeue
    else:
        words += ["hydra.output_subdir=null", f"hydra.job.name=rank{rank}"]
        log = command.folder / f"stdout_rank{rank}.log"
    return FreshProcess(words, log=log, environment={**os.environ, **command.environment}, held=None)
