"""Locks of directories: one process at a time works in each.

A job inherits the open file from its controller, and keeps the lock if the controller dies. The
package filelock does not fit: it unlocks the file with its object, and the job would lose the lock.
"""

import fcntl
from pathlib import Path
from typing import IO

LOCK = ".lock"


def is_claimed(folder: Path) -> bool:
    """Whether a run works in the directory."""
    return is_locked(folder / LOCK)


def lock(path: Path) -> IO[str] | None:
    """Returns the locked file, or None if another process has locked it.

    The lock lasts until the file is closed or the process ends.
    """
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
