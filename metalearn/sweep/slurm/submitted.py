"""Jobs in the queue of a batch system, which outlive the controller that submitted them: a file in each says so."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Literal, final

Cluster = Literal["slurm", "local"]

NAME = ".submitted.json"


def note(folder: Path, cluster: Cluster, job_id: str) -> None:
    """Write down that the job of this directory is in a queue."""
    (folder / NAME).write_text(json.dumps({"cluster": cluster, "job_id": job_id}) + "\n")


def forget(folder: Path) -> None:
    (folder / NAME).unlink(missing_ok=True)


def is_submitted(folder: Path) -> bool:
    """Whether the job of this directory waits or runs. Raises OSError when it cannot be known here."""
    try:
        known = json.loads((folder / NAME).read_text())
    except (FileNotFoundError, ValueError):
        return False
    if known["cluster"] == "local":
        command = Path(f"/proc/{known['job_id']}/cmdline")
        return command.exists() and b"submitit" in command.read_bytes()
    try:
        return queue.has(known["job_id"])
    except FileNotFoundError as error:
        raise OSError(
            f"{folder} was submitted to SLURM as job {known['job_id']}, and there is no squeue here to ask whether it "
            f"is at work: use a machine that has one, or remove {folder / NAME}"
        ) from error


@final
class Queue:
    """SLURM's jobs of this user. squeue knows them also where no accounting does, and in one call for all."""

    INTERVAL = 30.0
    """Seconds between two looks; those for a job that was not there the last time are closer."""

    SOON = 3.0

    def __init__(self) -> None:
        self._ids = set[str]()
        self._looked = -self.INTERVAL

    def has(self, job_id: str) -> bool:
        """Whether a job, such as 12 or 12_3 of an array, waits or runs. Raises FileNotFoundError without squeue."""
        if time.monotonic() - self._looked >= (self.INTERVAL if job_id in self._ids else self.SOON):
            self._looked = time.monotonic()
            command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return True  # a controller that is restarted loses no job
            self._ids = set(done.stdout.split())
        return job_id in self._ids


queue = Queue()
