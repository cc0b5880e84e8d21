"""The output of a run, which must not end the run if a reader leaves or lacks characters."""

import errno
import io
import os
import sys
from typing import Any

UNREAD = (errno.EPIPE, errno.EIO)
"""Errors of a pipe without a reader, and of a closed terminal."""


class _Unbroken(io.FileIO):
    """A file descriptor that drops output after its reader has left."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in UNREAD:
                raise
            return len(data)


def make_unbreakable() -> None:
    """Replaces stdout and stderr by streams that drop unread output and escape characters."""
    _open_closed()
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or isinstance(stream.buffer, io.BytesIO):
            continue  # a test captures the stream
        stream.flush()
        binary = io.BufferedWriter(_Unbroken(number, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(binary, stream.encoding, "backslashreplace", line_buffering=True))


def _open_closed() -> None:
    """Opens /dev/null for a stream that the shell has closed (`>&-`), which keeps its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)  # also for the server that forks jobs
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
