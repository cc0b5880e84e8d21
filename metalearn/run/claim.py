"""A run directory belongs to one run at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOCK = ".lock"


@contextmanager
def claimed(folder: Path, *, resume: bool) -> Iterator[None]:
    """Hold the run directory. Raises ValueError when another run does, or when it has a run that is not resumed."""
    file = lock(folder / LOCK)
    if file is None:
        raise ValueError(f"another run is at work in {folder}")
    with file:
        if not resume and (folder / "result.json").exists():
            raise ValueError(f"{folder} has a run already: go on with resume='{folder}', or name another directory")
        # A result of before would be read as that of the run that begins.
        for name in ("result.json", "test_episodes.npz"):
            (folder / name).unlink(missing_ok=True)
        yield


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
