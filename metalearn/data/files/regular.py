"""Safe opening of a user's files: none can hang a run, and sizes are known before reading."""

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import IO


def check_regular(path: str | Path, status: os.stat_result) -> None:
    """Raises ValueError for a pipe, a device or a socket; reading them may never end."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a regular file")


def open_regular(path: str | Path) -> IO[bytes]:
    """Opens a regular file for reading. Raises ValueError for others; a pipe would block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_regular(path, os.fstat(descriptor))
    except ValueError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | Path, limit: int) -> bytes:
    """Reads a file. Raises ValueError if it has more than `limit` bytes."""
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise ValueError(f"{path} has {size:,} bytes, more than the {limit:,} that such a file may have")
        return file.read(limit)


@contextmanager
def open_zip(path: Path, *, advice: str) -> Iterator[zipfile.ZipFile]:
    """Opens the zip at `path`. Any damage raises one OSError that names it, with the advice."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise OSError(f"cannot read {path} ({error}); {advice}") from error


def file_version(path: str | Path, status: os.stat_result, name: str | None = None) -> str:
    """Names a file, by its last part if `name` is None, and its version, for the keys of caches.

    Raises ValueError for a pipe, a device or a socket.
    """
    check_regular(path, status)
    return f"{name or os.path.basename(path)} {status.st_size} {status.st_mtime_ns}"


class Limited:
    """Stream that raises ValueError after `limit` bytes, to stop a decompression bomb."""

    def __init__(self, stream: IO[bytes] | GzipFile, limit: int) -> None:
        self.stream, self.limit, self.left = stream, limit, limit

    def read(self, size: int = -1) -> bytes:
        content = self.stream.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise ValueError(f"it holds more than {self.limit:,} bytes unpacked")
        return content
