"""Processes of a drill, known by a variable that all of them inherit. It reads /proc of Linux."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

NAME = "METALEARN_DRILL"


def new_mark() -> str:
    """Returns a value of the variable that no other process has."""
    return uuid4().hex


def environment(mark: str) -> dict[str, str]:
    """Returns the environment of a command without GPUs, in one thread, and with the mark."""
    return {**os.environ, NAME: mark, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def marked(mark: str, **variables: str) -> list[int]:
    """Returns the processes that have the mark, and the other variables."""
    wanted = {f"{name}={value}".encode() for name, value in {NAME: mark, **variables}.items()}
    found = []
    for pid in processes():
        with suppress(OSError):  # it has ended, or belongs to another user
            if wanted <= set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")):
                found.append(pid)
    return found


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def describe(pid: int) -> str:
    """Returns the command line, state and parent of a process."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{pid} (state {state}, parent {parent}): {command.strip()[:160]}"
    except OSError:
        return f"{pid}: it has ended"
