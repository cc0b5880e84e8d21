"""Jobs as jobs of a batch system, through submitit: those that are started together are submitted as one array."""

import os
import pickle
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, final

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from metalearn.sweep.jobs import AbstractProcess
from metalearn.sweep.slurm import submitted
from metalearn.sweep.slurm.node_task import NodeTask
from metalearn.sweep.slurm.submitted import Cluster, Submitted

LOOK = 1.0
"""Seconds between two looks for the end of a job."""

LATE = 20.0
"""Seconds that the file with its exit code may take from node to node."""


class Shape(NamedTuple):
    """What a job asks for; one array has one."""

    nodes: int
    tasks: int  # on each node
    gpus: int  # on each node


@final
class Submitter:
    """What stands between single jobs and arrays of them.

    Args:
        cluster: of the executors.
        executor: for jobs of a shape.
    """

    def __init__(self, cluster: Cluster, executor: Callable[[Shape], submitit.Executor]) -> None:
        self.cluster, self._executor = cluster, executor
        self._waiting: list[BatchProcess] = []

    def add(self, task: NodeTask, folder: Path, shape: Shape) -> "BatchProcess":
        """A job that is submitted with the others that come before somebody looks."""
        process = BatchProcess(task, folder, shape, submitter=self)
        self._waiting.append(process)
        return process

    def drop(self, process: "BatchProcess") -> None:
        """Do not submit one that waits."""
        self._waiting.remove(process)

    def submit(self) -> None:
        """Submit what waits. Raises ValueError when the batch system refuses it."""
        waiting, self._waiting = self._waiting, []
        groups = defaultdict[Shape, list[BatchProcess]](list)
        for process in waiting:
            groups[process.shape].append(process)
        for shape, processes in groups.items():
            executor = self._executor(shape)
            try:
                with executor.batch():
                    jobs = [executor.submit(process.task) for process in processes]
            except (FailedJobError, FailedSubmissionError) as error:
                raise ValueError(f"the jobs were not submitted: {' '.join(str(error).split())}") from error
            for process, job in zip(processes, jobs, strict=True):
                process.job = job
                submitted.note(process.folder, Submitted(self.cluster, job.job_id))


@final
class BatchProcess(AbstractProcess):
    """One job in the queue, or at work."""

    def __init__(self, task: NodeTask, folder: Path, shape: Shape, *, submitter: Submitter) -> None:
        self.task, self.folder, self.shape = task, folder, shape
        self.job: submitit.Job[int] | None = None
        self._submitter = submitter
        self._code: int | str | None = None
        self._looked = self._gone_at = 0.0

    def exit_code(self) -> int | str | None:
        self._submitter.submit()
        now = time.monotonic()
        if self._code is None and now - self._looked >= LOOK:
            self._looked = now
            self._code = self._look()
            if self._code is not None:
                submitted.forget(self.folder)
        return self._code

    def send(self, sent: signal.Signals) -> None:
        if self._code is not None:
            return
        if self.job is None:
            self._submitter.drop(self)
            self._code = "not submitted"
        elif sent != signal.SIGKILL:
            Submitted(self._submitter.cluster, self.job.job_id).stop()
        elif self._submitter.cluster == "local":
            # submitit's controller of the task kills it at once on SIGINT.
            with suppress(ProcessLookupError):
                os.kill(int(self.job.job_id), signal.SIGINT)
        else:
            subprocess.run(["scancel", self.job.job_id], check=False)

    def _look(self) -> int | str | None:
        assert self.job is not None
        paths = [self.job.task(rank).paths.result_pickle for rank in range(self.job.num_tasks)]
        known = [pickle.loads(path.read_bytes()) for path in paths if path.exists()]
        local = self._submitter.cluster == "local"
        there = self.job.state == "RUNNING" if local else submitted.queue.has(self.job.job_id)
        # Rank 0 leaves nothing when it is requeued; the others may.
        if paths[0].exists() and (len(known) == len(paths) or known[0] != ("success", 0)):
            return self._told(*known[0])
        if there:
            self._gone_at = 0.0
            return None
        self._gone_at = self._gone_at or time.monotonic()
        if time.monotonic() - self._gone_at < LATE:
            return None
        return self._told(*known[0]) if known else self._words(self.job.get_info().get("State") or "ended early")

    def _told(self, outcome: str, what: int | str) -> int | str:
        """A result of submitit: an exit code, or a traceback."""
        return what if outcome == "success" else self._words(str(what).strip().rpartition("\n")[2])

    def _words(self, why: str) -> str:
        assert self.job is not None
        return f"{self._submitter.cluster} job {self.job.job_id}: {why}, {self.job.task(0).paths.stderr}"
