"""Locks of directories: one process at a time is at work in each.

A job inherits the open file from its controller and keeps the directory when that dies. filelock unlocks the file when
its object goes, which would take the lock from the job as well.
"""

import fcntl
from pathlib import Path
from typing import IO

LOCK = ".lock"


def is_claimed(folder: Path) -> bool:
    """Whether a run is at work in the directory."""
    return is_locked(folder / LOCK)


def lock(path: Path) -> IO[str] | None:
    """A file that no other process can lock until it is closed or this one ends; None when another one has it."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    file = lock(path)
    if file is None:
        return True
    file.close()
    return False
