"""Locks of directories: one process at a time works in each.

A job inherits the open file from its controller, and keeps the lock if the controller dies. The
package filelock does not fit: it unlocks the file with its object, and the job would lose the lock.
"""

import errno
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

from metalearn.files import open_to_lock

LOCK = ".lock"

PROBES = 11
PROBE = 0.01
"""Seconds between tries for a lock: who asks whether it is held holds it for an instant."""


class Owner(NamedTuple):
    """The process that wrote its name into its lock."""

    host: str
    pid: int

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()


def flock(file: IO[Any], how: int) -> None:
    """Locks a file. Raises BlockingIOError if another has it, OSError if its disk has no locks."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        remedy = "mount it with locks, or write elsewhere by paths.outputs=DIR"
        raise OSError(
            f"the disk of {file.name} has no locks ({error.strerror}), which a run needs: {remedy}"
        ) from error


def lock(path: Path) -> IO[str] | None:
    """Returns the locked file, or None if another process has locked it.

    The lock lasts until the file is closed or the process ends.
    """
    file = path.open("a")
    for probe in range(PROBES):
        try:
            flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if probe < PROBES - 1:
                time.sleep(PROBE)
    file.close()
    return None


def is_locked(path: Path, probe: int = fcntl.LOCK_SH) -> bool:
    """Returns whether a process holds a lock that excludes the probe; by default that of `lock`.

    Changes nothing, so a reader may ask.
    """
    try:
        with open_to_lock(path) as file:
            flock(file, probe | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def sign(file: IO[str]) -> None:
    """Writes the name of this process into the lock that it holds."""
    file.truncate(0)
    file.write(f"{socket.gethostname()} {os.getpid()}\n")
    file.flush()


def owner(path: Path) -> Owner | None:
    """Returns the process that holds a lock; None when nobody does, or has signed it yet."""
    host, _, pid = (path.read_text() if is_locked(path) else "").strip().rpartition(" ")
    return Owner(host, int(pid)) if pid.isdigit() else None
