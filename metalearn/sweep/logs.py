"""stdout.log of a job: for each attempt its command, its output, its exit code, and a verdict.

The verdict is that of the controller, which alone knows what it has stopped, and why.
"""

import os
import re
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

BEGUN = "$ "
ENDED = "# exit code "
REFUSED = "metalearn: "
"""Begins the line that says why a command is refused."""

TAIL = 8192
"""Bytes at the end of a log in which its last lines are looked for."""

VERDICT = re.compile(r"# (failed|interrupted)(?:: (.*))?")

LEFT = re.compile(r"\b(\d+) s left\b")


def note_begin(log: Path, command: Sequence[str]) -> None:
    """Appends the command of an attempt."""
    _append(log, f"{BEGUN}{shlex.join(command)}\n")


def note_end(log: Path, code: int | str) -> None:
    """Appends the exit code of an attempt, negative for a signal, if its log is still there."""
    with suppress(FileNotFoundError):
        _append(log, f"{ENDED}{code}\n")


def note_verdict(log: Path, status: str, reason: str) -> None:
    """Appends how an attempt without a finished run has ended, if its log is still there."""
    with suppress(FileNotFoundError):
        _append(log, f"# {status}: {reason}\n" if reason else f"# {status}\n")


def verdict(log: Path) -> tuple[Literal["failed", "interrupted"], str] | None:
    """Returns the verdict on the last attempt, and its reason; None where nobody has noted it."""
    found = VERDICT.fullmatch(last_line(log))
    return None if found is None else (found[1], found[2] or "")  # type: ignore[return-value]  # as VERDICT has it


def exit_code(log: Path) -> int | None:
    """Returns the exit code of the last attempt; None where nothing has noted it."""
    last = next((line for line in reversed(_tail(log)) if line.startswith((BEGUN, ENDED))), "")
    code = last.removeprefix(ENDED)
    return int(code) if last.startswith(ENDED) and code.lstrip("-").isdigit() else None


def last_line(log: Path) -> str:
    """Returns the last line of output; empty before there is any."""
    line = next((line.strip() for line in reversed(_tail(log)) if line.strip()), "")
    return "" if line.startswith(BEGUN) else line


def refusal(log: Path) -> str:
    """Returns the line by which the last attempt was refused, if it was and its log is there."""
    if not log.is_file():
        return ""
    lines = log.read_text(errors="replace").rpartition(f"\n{BEGUN}")[2].splitlines()
    refused = (line.removeprefix(REFUSED) for line in reversed(lines) if line.startswith(REFUSED))
    return next(refused, "")


def seconds_left(log: Path) -> float | None:
    """Returns the rest of the training as a run last reported it, less the time since then."""
    lines = reversed(_tail(log))
    found = next((match for line in lines if (match := LEFT.search(line))), None)
    return None if found is None else max(0.0, int(found[1]) + log.stat().st_mtime - time.time())


def _append(log: Path, line: str) -> None:
    """Appends a line below the output, which a kill may have cut within its last line."""
    with log.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else f"\n{line}"
        file.write(line.encode(errors="backslashreplace"))  # a path may hold any bytes


def _tail(log: Path) -> list[str]:
    """Returns the last lines of the last attempt, its command included where it is near enough."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        lines = file.read().decode(errors="replace").split("\n")
    begun = max((i for i, line in enumerate(lines) if line.startswith(BEGUN)), default=0)
    return lines[begun:]
