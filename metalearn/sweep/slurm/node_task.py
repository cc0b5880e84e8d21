"""What a node of a cluster does for a job: it runs the job's command, and again in the same directory when requeued.

submitit alone decides on a requeue. Its handlers are in this process, which only waits; the run is another process,
which knows of SIGTERM and SIGINT and nothing of queues.
"""

import atexit
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, final

from metalearn.sweep.jobs import FreshProcess, Job, resuming

if TYPE_CHECKING:  # late: an extra
    from submitit.core.utils import DelayedSubmission

POLL = 0.1  # seconds
END = 600.0
"""Seconds in which SLURM kills, or requeues, what it has sent SIGTERM."""


class _EndedBefore(Exception):
    """The run had ended when it was to be preempted."""


@final
class NodeTask:
    """A job's command, for submitit to call.

    Args:
        arguments: of metalearn, without those that resume.
        folder: of the job.
        environment: what is to be added to that of the node.
    """

    def __init__(self, arguments: list[str], *, folder: Path, environment: dict[str, str]) -> None:
        self._arguments, self._folder, self._environment = arguments, folder, environment
        self._process: FreshProcess | None = None
        self._told: signal.Signals | None = None

    def __call__(self) -> int:
        """Run to the end; returns the exit code."""
        try:
            code = self._run()
        except _EndedBefore:
            assert self._process is not None
            code = self._wait(self._process)
        if self._told == signal.SIGTERM and os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
            time.sleep(END)  # a task that ends by itself is not requeued, when that is what the signal is for
        if code:
            # With that code the batch system shows the job as failed, and ends its other ranks.
            atexit.register(os._exit, code if code > 0 else 128 - code)
        return code

    def checkpoint(self) -> "DelayedSubmission":
        """Stop the run after its last checkpoint; returns what is to be called after the requeue.

        submitit calls it in its signal handler, on rank 0: when the job is preempted or its time ends.
        """
        from submitit.core.utils import DelayedSubmission

        if self._process is not None:
            self._process.send(signal.SIGTERM)
            if self._wait(self._process) not in (128 + signal.SIGTERM, -signal.SIGTERM):
                raise _EndedBefore
        return DelayedSubmission(NodeTask(self._arguments, folder=self._folder, environment=self._environment))

    def _run(self) -> int:
        from submitit import JobEnvironment

        rank, job = JobEnvironment().global_rank, Job(0, [], self._folder)
        job.look()
        if job.finished:
            return 0
        # What is for submitit may reach all processes of a job, and would kill the run.
        deaf = ["sh", "-c", f"trap '' {JobEnvironment.USR_SIG}; exec \"$@\"", "sh"]
        command = [*deaf, sys.executable, "-m", "metalearn", *self._arguments, *resuming(self._folder)]
        log = job.log
        if rank == 0:
            (self._folder / "result.json").unlink(missing_ok=True)  # of the part before
        else:
            command += ["hydra.output_subdir=null", f"hydra.job.name=rank{rank}"]
            log = self._folder / f"stdout_rank{rank}.log"
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, self._forward)
        self._process = FreshProcess(command, log=log, environment={**os.environ, **self._environment}, held=None)
        if self._told is not None:
            self._process.send(self._told)
        return self._wait(self._process)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._told = signal.Signals(number)
        if self._process is not None:
            self._process.send(self._told)

    @staticmethod
    def _wait(process: FreshProcess) -> int:
        while (code := process.exit_code()) is None:
            time.sleep(POLL)
        return code
