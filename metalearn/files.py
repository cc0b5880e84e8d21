"""Writing files so that no reader, and no process that is killed, ever leaves half of one behind."""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill the file at `path`: readers see the old file or the whole new one, after a power cut too.

    Raises OSError that names `path`, with the old file as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _remove_those_of_dead_writers(path)
        try:
            with _locked(temporary) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        error.filename = str(path)
        raise


@contextlib.contextmanager
def _locked(temporary: Path) -> Iterator[IO[bytes]]:
    """The new file, locked for as long as its writer lives."""
    while True:
        with temporary.open("xb") as file:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if temporary.exists():  # else another writer removed it before it was locked
                yield file
                return


def _remove_those_of_dead_writers(path: Path) -> None:
    """Delete what writers of `path` left that were killed: nobody holds a lock on it."""
    theirs = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}")
    for name in os.listdir(path.parent):
        if theirs.fullmatch(name):
            with contextlib.suppress(OSError), (path.parent / name).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path.parent / name)


def _sync_folder(folder: Path) -> None:
    """Make the new name last: until then a power cut may give the old file back."""
    with contextlib.suppress(OSError):  # some file systems refuse it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
