"""Jobs in the queue of a cluster, which outlive their controller: a file in each names them."""

import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from metalearn.files import write_text
from metalearn.run.directory.as_json import decode

Cluster = Literal["slurm", "local", "ray"]

NAME = ".submitted.json"


class AbstractQueue(ABC):
    """The jobs of this user on a cluster."""

    @abstractmethod
    def has(self, job_id: str) -> bool:
        """Returns whether a job waits or runs. Raises OSError where that cannot be known here."""

    @abstractmethod
    def stop(self, job_ids: Sequence[str]) -> None:
        """Removes jobs from the queue; then asks those that run to save and to end."""


class Submitted(NamedTuple):
    """A job in a queue, or at work."""

    cluster: Cluster
    job_id: str
    address: str = ""  # address of a Ray cluster

    @property
    def queue(self) -> AbstractQueue:
        if self.cluster == "ray":
            from metalearn.sweep.ray.queue import queue_at  # late: an extra

            return queue_at(self.address)
        from metalearn.sweep.slurm import queue

        return queue.slurm if self.cluster == "slurm" else queue.local


def stop(jobs: Iterable[Submitted]) -> None:
    """Ends jobs, which save; those that wait first, lest one starts in the place of another."""
    queues = defaultdict[AbstractQueue, list[str]](list)
    for job in jobs:
        queues[job.queue].append(job.job_id)
    for queue, job_ids in queues.items():
        queue.stop(list(dict.fromkeys(job_ids)))


def note(folder: Path, submitted: Submitted) -> None:
    """Records that the job of this directory is in a queue."""
    write_text(folder / NAME, json.dumps(submitted._asdict()) + "\n")


def forget(folder: Path) -> None:
    (folder / NAME).unlink(missing_ok=True)


def read(folder: Path) -> Submitted | None:
    """Returns the record of a job, which may have ended since; None where there is none."""
    try:
        record: Submitted = decode(Submitted, json.loads((folder / NAME).read_text()), "")
    except (FileNotFoundError, ValueError):
        return None
    return record


def is_submitted(folder: Path) -> bool:
    """Returns whether the job of a directory waits or runs. Raises OSError where nobody knows."""
    record = read(folder)
    if record is None:
        return False
    try:
        return record.queue.has(record.job_id)
    except OSError as error:
        raise OSError(f"{folder} was submitted as {record.cluster} job {record.job_id}: {error}") from error
