"""Jobs of a sweep as jobs of a batch system, by submitit: those started together are one array."""

import logging
import os
import pickle
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, final

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from metalearn.formats import one_line
from metalearn.sweep import submitted
from metalearn.sweep.jobs import AbstractProcess
from metalearn.sweep.slurm.node_task import JobCommand, NodeTask
from metalearn.sweep.submitted import Submitted

log = logging.getLogger(__name__)

Executor = Literal["slurm", "local"]

LOOK = 1.0
"""Seconds between two looks for the end of a job."""

LATE = 20.0
"""Seconds that the file with its exit code may take from node to node."""

AGAIN = 30.0
"""Seconds until a batch system that has refused jobs is asked again."""

MOST = 1000
"""Elements of an array: SLURM's default MaxArraySize allows as many."""


class Shape(NamedTuple):
    """Request of an allocation; all elements of an array have the same."""

    nodes: int
    tasks: int  # on each node
    gpus: int  # on each node
    jobs: int = 1  # that share it, each of one process


@final
class Allocation:
    """A job of the batch system, which one job of the sweep has, or several."""

    def __init__(self, job: "submitit.Job[list[int]]", cluster: Executor) -> None:
        self.job, self.cluster = job, cluster
        self._sent = set[signal.Signals]()

    def send(self, sent: signal.Signals) -> None:
        """Passes a signal on, once for all its jobs."""
        if sent in self._sent:
            return
        self._sent.add(sent)
        if sent != signal.SIGKILL:
            submitted.stop([Submitted(self.cluster, self.job.job_id)])
        elif self.cluster == "local":
            # submitit's controller of the task kills it at once on SIGINT.
            with suppress(ProcessLookupError):
                os.kill(int(self.job.job_id), signal.SIGINT)
        else:
            subprocess.run(["scancel", self.job.job_id], check=False)


@final
class Submitter:
    """Collects single jobs into allocations and arrays.

    Args:
        cluster: kind of the executors.
        executor: returns one for allocations of a shape.
        jobs_per_task: most jobs of one process that share an allocation.
    """

    def __init__(
        self, cluster: Executor, executor: Callable[[Shape], submitit.Executor], *, jobs_per_task: int = 1
    ) -> None:
        self.cluster, self._executor, self._jobs_per_task = cluster, executor, jobs_per_task
        self._waiting: list[BatchProcess] = []
        self._submitted: list[BatchProcess] = []
        self._next = 0.0  # time of the next try after a refusal
        self._refusal = ""  # the last one

    def add(self, command: JobCommand, shape: Shape) -> "BatchProcess":
        """Returns a job that is submitted with those that are added before the next look."""
        process = BatchProcess(command, shape, submitter=self)
        self._waiting.append(process)
        return process

    def drop(self, process: "BatchProcess") -> None:
        """Keeps a job that waits from being submitted."""
        self._waiting.remove(process)

    def submit(self) -> None:
        """Submits the waiting jobs. Raises ValueError when the batch system refuses them."""
        arrays = defaultdict[Shape, list[list[BatchProcess]]](list)
        for pack in self._packs(self._waiting):
            arrays[pack[0].shape._replace(jobs=len(pack))].append(pack)
        for shape, packs in arrays.items():
            for start in range(0, len(packs), MOST):
                self._submit(shape, packs[start : start + MOST])

    def keep_submitting(self) -> None:
        """Submits the waiting jobs; asks again after a refusal while other jobs are at work.

        The batch system may be restarting, or the user may have too many jobs at the moment.
        """
        if time.monotonic() < self._next:
            return
        try:
            self.submit()
        except ValueError as error:
            if not any(process.is_at_work for process in self._submitted):
                raise
            self._next = time.monotonic() + AGAIN
            if str(error) != self._refusal:  # some last as long as the jobs at work, such as an invalid account
                log.warning("metalearn: %s; it is tried again every %g s while other jobs are at work", error, AGAIN)
            self._refusal = str(error)
        else:
            self._refusal = ""

    def _packs(self, waiting: Sequence["BatchProcess"]) -> list[list["BatchProcess"]]:
        """Returns the jobs that share each allocation: alike, and of one process."""
        alike = defaultdict[Shape, list[BatchProcess]](list)
        for process in waiting:
            alike[process.shape].append(process)
        packs = []
        for shape, processes in alike.items():
            size = self._jobs_per_task if shape.nodes == shape.tasks == 1 else 1
            packs += [processes[start : start + size] for start in range(0, len(processes), size)]
        return packs

    def _submit(self, shape: Shape, packs: Sequence[Sequence["BatchProcess"]]) -> None:
        executor = self._executor(shape)
        try:
            with executor.batch():
                jobs = [executor.submit(NodeTask([process.command for process in pack])) for pack in packs]
        except (FailedJobError, FailedSubmissionError) as error:
            raise ValueError(f"the jobs were not submitted: {one_line(error)}") from error
        for pack, job in zip(packs, jobs, strict=True):
            allocation = Allocation(job, self.cluster)
            for index, process in enumerate(pack):
                self._waiting.remove(process)
                self._submitted.append(process)
                process.allocation, process.index = allocation, index
                submitted.note(process.folder, Submitted(self.cluster, job.job_id))


@final
class BatchProcess(AbstractProcess):
    """A job of the sweep in the queue, or at work."""

    def __init__(self, command: JobCommand, shape: Shape, *, submitter: Submitter) -> None:
        self.command, self.shape = command, shape
        self.allocation: Allocation | None = None
        self.index = 0  # in its allocation
        self._submitter = submitter
        self._code: int | str | None = None
        self._looked = self._gone_at = 0.0

    @property
    def folder(self) -> Path:
        return self.command.folder

    @property
    def is_at_work(self) -> bool:
        return self._code is None

    def exit_code(self) -> int | str | None:
        self._submitter.keep_submitting()
        now = time.monotonic()
        if self.allocation is not None and self._code is None and now - self._looked >= LOOK:
            self._looked = now
            self._code = self._look()
            if self._code is not None:
                submitted.forget(self.folder)
        return self._code

    def send(self, sent: signal.Signals) -> None:
        if self._code is not None:
            return
        if self.allocation is None:
            self._submitter.drop(self)
            self._code = "not submitted"
        else:
            self.allocation.send(sent)

    def _look(self) -> int | str | None:
        assert self.allocation is not None
        job = self.allocation.job
        paths = [job.task(rank).paths.result_pickle for rank in range(job.num_tasks)]
        results = [pickle.loads(path.read_bytes()) for path in paths if path.exists()]
        # Rank 0 leaves nothing when it is requeued; the others may.
        if paths[0].exists() and (len(results) == len(paths) or results[0] != ("success", [0])):
            return self._ending(*results[0])
        local = self.allocation.cluster == "local"
        if job.state == "RUNNING" if local else submitted.is_submitted(self.folder):
            self._gone_at = 0.0
            return None
        self._gone_at = self._gone_at or time.monotonic()
        if time.monotonic() - self._gone_at < LATE:
            return None
        return self._ending(*results[0]) if results else self._words(job.get_info().get("State") or "ended early")

    def _ending(self, outcome: str, result: list[int] | str) -> int | str:
        """Returns the exit code, or the last line of a traceback, of a result of submitit."""
        if outcome == "success":
            return int(result[self.index])
        return self._words(str(result).strip().rpartition("\n")[2])

    def _words(self, why: str) -> str:
        assert self.allocation is not None
        job = self.allocation.job
        return f"{self.allocation.cluster} job {job.job_id}: {why}, {job.task(0).paths.stderr}"
