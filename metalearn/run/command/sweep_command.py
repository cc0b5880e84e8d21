"""The command line of a sweep, from its sweep.json, for a terminal in the working directory."""

import os
import re
import shlex
from pathlib import Path

from metalearn.run.directory.sweep_record import SweepRecord, read


def as_typed(sweep: Path) -> str:
    """Returns the command line of a sweep with its name, as it was typed last."""
    record = read(sweep)
    typed = record.typed
    return _line(record, typed if any(map(_is_place, typed)) else [*typed, _place(record, sweep)])


def from_here(sweep: Path) -> str:
    """Returns the command line of a sweep at its present path."""
    record = read(sweep)
    return _line(record, [*(word for word in record.typed if not _is_place(word)), _place(record, sweep)])


def _is_place(word: str) -> bool:
    return word.lstrip("+").startswith("hydra.sweep.dir=")


def _place(record: SweepRecord, sweep: Path) -> str:
    path = sweep.resolve() if _elsewhere(record) else sweep
    if re.fullmatch(r"[\w./-]+", str(path)):
        return f"hydra.sweep.dir={path}"
    from metalearn.run.command.grammar import quoted  # late, because a report does without Hydra

    return f"hydra.sweep.dir={quoted(path)}"


def _line(record: SweepRecord, words: list[str]) -> str:
    """Returns a line for the shell; paths in the words are relative to where they were typed."""
    line = shlex.join(["python", "-m", "metalearn", *words])
    return f"cd {shlex.quote(folder)} && {line}" if (folder := _elsewhere(record)) else line


def _elsewhere(record: SweepRecord) -> str | None:
    """Returns the folder where the words were typed, if it is another than this one."""
    return record.cwd if record.cwd != os.getcwd() else None
