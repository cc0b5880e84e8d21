"""Jobs in the queue of a batch system, which outlive their controller: a file in each names them."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, final

Cluster = Literal["slurm", "local"]

NAME = ".submitted.json"


class Submitted(NamedTuple):
    """A job in a queue, or at work."""

    cluster: Cluster
    job_id: str

    def stop(self) -> None:
        """Removes it from the queue; where it runs, asks it to save and to end."""
        if self.cluster == "local":
            with suppress(ProcessLookupError):
                os.kill(int(self.job_id), signal.SIGTERM)
        else:
            # SIGTERM would mean that SLURM ends it; on SIGINT it ends by itself.
            _scancel("--state=PENDING", self.job_id)
            _scancel("--state=RUNNING", "--signal=INT", self.job_id)


def note(folder: Path, submitted: Submitted) -> None:
    """Records that the job of this directory is in a queue."""
    (folder / NAME).write_text(json.dumps(submitted._asdict()) + "\n")


def forget(folder: Path) -> None:
    (folder / NAME).unlink(missing_ok=True)


def read(folder: Path) -> Submitted | None:
    """Returns the record of a job, which may have ended since; None where there is none."""
    try:
        return Submitted(**json.loads((folder / NAME).read_text()))
    except (FileNotFoundError, ValueError):
        return None


def is_submitted(folder: Path) -> bool:
    """Returns whether the job of this directory waits or runs. Raises OSError where nobody knows."""
    known = read(folder)
    if known is None:
        return False
    if known.cluster == "local":
        command = Path(f"/proc/{known.job_id}/cmdline")
        return command.exists() and b"submitit" in command.read_bytes()
    try:
        return queue.has(known.job_id)
    except FileNotFoundError as error:
        raise OSError(
            f"{folder} was submitted to SLURM as job {known.job_id}, and there is no squeue here "
            f"to ask whether it is at work: use a machine that has one, or remove {folder / NAME}"
        ) from error


def _scancel(*arguments: str) -> None:
    subprocess.run(["scancel", "--quiet", *arguments], check=False)


@final
class Queue:
    """SLURM's jobs of this user, by one call of squeue for all, which needs no accounting."""

    INTERVAL = 30.0
    """Seconds between two calls."""

    SOON = 3.0
    """Seconds between two calls for a job that was not there the last time."""

    def __init__(self) -> None:
        self._ids = set[str]()
        self._looked = -self.INTERVAL

    def has(self, job_id: str) -> bool:
        """Returns whether a job, such as 12 or 12_3 of an array, waits or runs.

        Raises FileNotFoundError without squeue.
        """
        if time.monotonic() - self._looked >= (self.INTERVAL if job_id in self._ids else self.SOON):
            self._looked = time.monotonic()
            command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return True  # a controller that is restarted loses no job
            self._ids = set(done.stdout.split())
        return job_id in self._ids


queue = Queue()
