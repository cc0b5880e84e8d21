"""The output of a run, which must not end it: whoever reads it may be gone, or know fewer characters."""

import io
import os
import sys
from typing import Any


class _Unbroken(io.FileIO):
    """A file descriptor whose reader may leave: from then on what is written is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return len(data)


def make_unbreakable() -> None:
    """Replace stdout and stderr by streams that drop what nobody reads, and spell what they cannot encode."""
    _open_closed()
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or isinstance(stream.buffer, io.BytesIO):
            continue  # a test reads it
        stream.flush()
        binary = io.BufferedWriter(_Unbroken(number, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(binary, stream.encoding, "backslashreplace", line_buffering=True))


def _open_closed() -> None:
    """Let a stream that the shell has closed (`>&-`) lead nowhere, before a file of ours takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)  # for the server that forks jobs, too
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
