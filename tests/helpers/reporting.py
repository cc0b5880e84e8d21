"""The command `python -m metalearn.report`, called in the process of the test."""

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

from metalearn.report.__main__ import main


class Reported(NamedTuple):
    """Exit code and output of the command."""

    code: int
    stdout: str
    stderr: str


def report(*arguments: Path | str) -> Reported:
    code: object = None
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
    if isinstance(code, str):  # Python prints it, and exits with 1
        return Reported(1, out.getvalue(), err.getvalue() + code + "\n")
    return Reported(int(code or 0), out.getvalue(), err.getvalue())  # type: ignore[call-overload]
