"""Messages between the processes of a sweep, through its directory: who starts jobs, and cancel.

A controller is a process that starts jobs of a sweep. A sweep may have several, on several machines
that share its directory.
"""

import fcntl
import time
from pathlib import Path
from typing import IO, final

from metalearn.run.directory.claim import is_locked

CONTROLLERS = ".controllers.lock"
"""Shared lock that each controller holds."""

CANCEL = ".cancel"
"""File that `cancel` touches."""

LOOK = 0.5
"""Seconds between two looks for that file."""


def attend(sweep: Path) -> IO[str]:
    """Returns a file; while it is open, this process counts as a controller of the sweep."""
    file = (sweep / CONTROLLERS).open("a+")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def is_attended(sweep: Path) -> bool:
    """Returns whether a controller is at work, which starts the jobs that wait."""
    return is_locked(sweep / CONTROLLERS, fcntl.LOCK_EX)  # controllers share their lock


def request_cancel(sweep: Path) -> None:
    """Asks all present controllers to stop as on SIGTERM."""
    (sweep / CANCEL).touch()


@final
class CancelRequest:
    """A cancel that comes after this object was made; earlier ones concern earlier controllers."""

    def __init__(self, sweep: Path) -> None:
        self._path = sweep / CANCEL
        self._before, self._looked = self._stamp(), time.monotonic()

    def is_there(self) -> bool:
        """Returns whether it has come; cheap enough for every round of a loop."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return False
        self._looked = now
        return self._stamp() != self._before

    def _stamp(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
