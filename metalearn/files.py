"""Writing of files: no reader sees half a file, no killed process leaves one, and none is lost."""

import contextlib
import errno
import fcntl
import io
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Replaces the file at `path` by what `write` writes into it, atomically.

    Readers see the old file or the whole new one, also after a power cut. Raises OSError that names
    `path`; the old file then remains.
    """
    content = io.BytesIO()  # on a full disk, the writers of torch raise an error of their own, or abort the process
    write(content)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _remove_those_of_dead_writers(path)
        try:
            with _created(temporary) as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        error.filename = str(path)
        raise


def write_text(path: Path, text: str, *, errors: str = "strict") -> None:
    """Replaces the file at `path` by a text in UTF-8, as `write_atomically` does."""
    write_atomically(path, lambda file: file.write(text.encode(errors=errors)))


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Waits until no other process is in the context of the same lock file, which stays.

    Nobody waits where a network file system has no locks.
    """
    with lock.open("a") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def open_to_lock(path: Path) -> IO[bytes]:
    """Opens a file for a lock: for writing where one may, else NFS refuses an exclusive lock."""
    try:
        return path.open("r+b")
    except OSError:
        return path.open("rb")


def check_free(path: Path) -> None:
    """Raises ValueError if a file to be written exists already, or its folder does not."""
    if path.exists():
        raise ValueError(f"{path} exists already: name another file, or remove it")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder, so {path.name} cannot be written there")


def is_full_disk(error: BaseException) -> bool:
    """Whether the disk or the quota of the user is full, which is no fault of the input."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def _created(temporary: Path) -> Iterator[IO[bytes]]:
    """Creates a new file, locked for as long as its writer lives."""
    while True:
        with temporary.open("xb") as file:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if temporary.exists():  # another writer may have removed it before the lock
                yield file
                return


def _remove_those_of_dead_writers(path: Path) -> None:
    """Deletes temporary files of `path` whose writers were killed: nobody holds a lock on them."""
    theirs = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}")
    for name in os.listdir(path.parent):
        if theirs.fullmatch(name):
            with contextlib.suppress(OSError), open_to_lock(path.parent / name) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path.parent / name)


def _sync_folder(folder: Path) -> None:
    """Makes the new name durable: before the sync, a power cut may restore the old file."""
    with contextlib.suppress(OSError):  # some file systems refuse it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
