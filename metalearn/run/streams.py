"""The output of a run, which must not end it: whoever reads it may be gone, or know fewer characters."""

import io
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
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or isinstance(stream.buffer, io.BytesIO):
            continue  # a test reads it
        stream.flush()
        binary = io.BufferedWriter(_Unbroken(number, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(binary, stream.encoding, "backslashreplace", line_buffering=True))
