"""The queue of SLURM, and the processes of submitit's own executor."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

from metalearn.sweep.submitted import AbstractQueue


@final
class SlurmQueue(AbstractQueue):
    """SLURM's jobs of this user, by one call of squeue for all, which needs no accounting."""

    INTERVAL = 30.0
    """Seconds between two calls."""

    SOON = 3.0
    """Seconds between two calls for a job that was not there the last time."""

    def __init__(self) -> None:
        self._ids = set[str]()
        self._looked = -self.INTERVAL

    def has(self, job_id: str) -> bool:
        """Returns whether a job, such as 12 or 12_3 of an array, waits or runs."""
        interval = self.INTERVAL if job_id in self._ids else self.SOON
        if time.monotonic() - self._looked >= interval:
            self._looked = time.monotonic()
            command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError as error:
                remedy = "use a machine that has one, or remove the file .submitted.json there"
                raise OSError(f"there is no squeue here to ask whether it is at work: {remedy}") from error
            if done.returncode != 0:
                return True  # a controller that is restarted loses no job
            self._ids = set(done.stdout.split())
        return job_id in self._ids

    def stop(self, job_ids: Sequence[str]) -> None:
        # SIGTERM would mean that SLURM ends the job; on SIGINT it ends by itself.
        for arguments in (["--state=PENDING"], ["--state=RUNNING", "--signal=INT"]):
            subprocess.run(["scancel", "--quiet", *arguments, *job_ids], check=False)
        self._looked = -self.INTERVAL


@final
class LocalQueue(AbstractQueue):
    """Processes of submitit's own executor on this machine, by their ids."""

    def has(self, job_id: str) -> bool:
        command = Path(f"/proc/{job_id}/cmdline")
        return command.exists() and b"submitit" in command.read_bytes()

    def stop(self, job_ids: Sequence[str]) -> None:
        # Each process passes SIGTERM on to its task; SIGINT would leave no time to save.
        for job_id in job_ids:
            with suppress(ProcessLookupError):
                os.kill(int(job_id), signal.SIGTERM)


slurm, local = SlurmQueue(), LocalQueue()
