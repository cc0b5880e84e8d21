"""Messages between the processes of a sweep, through its directory: who starts jobs, and cancel.

A controller is a process that starts jobs of a sweep. A sweep may have several, on several machines
that share its directory.
"""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import IO

from metalearn.run.directory.claim import flock, is_locked

CONTROLLERS = ".controllers.lock"
"""Shared lock that each controller holds."""

CANCEL = ".cancel"
"""File that `cancel` touches."""


def attend(sweep: Path) -> IO[str]:
    """Returns a file; while it is open, this process counts as a controller of the sweep."""
    file = (sweep / CONTROLLERS).open("a+")
    flock(file, fcntl.LOCK_SH)
    return file


def is_attended(sweep: Path) -> bool:
    """Returns whether a controller is at work, which starts the jobs that wait."""
    return is_locked(sweep / CONTROLLERS, fcntl.LOCK_EX)  # controllers share their lock


def request_cancel(sweep: Path) -> None:
    """Asks all present controllers to stop as on SIGTERM."""
    (sweep / CANCEL).touch()


def watch_cancel(sweep: Path) -> Callable[[], bool]:
    """Returns a function that says whether a cancel has come since this call.

    An earlier one concerns earlier controllers.
    """

    def stamp() -> int | None:
        try:
            return (sweep / CANCEL).stat().st_mtime_ns
        except FileNotFoundError:
            return None

    before = stamp()
    return lambda: stamp() != before
