"""A run directory belongs to one run at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def claimed(folder: Path, *, resume: bool) -> Iterator[None]:
    """Hold the run directory. Raises ValueError when another run does, or when it has a run that is not resumed."""
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another run is at work in {folder}") from error
        if not resume and (folder / "result.json").exists():
            raise ValueError(f"{folder} has a run already: go on with resume='{folder}', or name another directory")
        # A result of before would be read as that of the run that begins.
        for name in ("result.json", "test_episodes.npz"):
            (folder / name).unlink(missing_ok=True)
        yield


def is_claimed(folder: Path) -> bool:
    """Whether a run is at work in the directory."""
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
