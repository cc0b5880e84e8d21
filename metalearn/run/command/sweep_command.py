"""The command line of a sweep, from its sweep.json, for a terminal in the working directory."""

import os
import re
import shlex
from pathlib import Path

from metalearn.run.directory.sweep_record import Content, read


def as_typed(sweep: Path) -> str:
    """Returns the command line of a sweep with its name, as it was typed last."""
    content = read(sweep)
    typed = content["typed"]
    return _line(content, typed if any(map(_is_place, typed)) else [*typed, _place(content, sweep)])


def from_here(sweep: Path) -> str:
    """Returns the command line of a sweep at its present path."""
    content = read(sweep)
    return _line(content, [*(word for word in content["typed"] if not _is_place(word)), _place(content, sweep)])


def _is_place(word: str) -> bool:
    return word.lstrip("+").startswith("hydra.sweep.dir=")


def _place(content: Content, sweep: Path) -> str:
    path = sweep.resolve() if _is_from_elsewhere(content) else sweep
    if re.fullmatch(r"[\w./-]+", str(path)):
        return f"hydra.sweep.dir={path}"
    from metalearn.run.command.grammar import quoted  # late, because a report does without Hydra

    return f"hydra.sweep.dir={quoted(path)}"


def _line(content: Content, words: list[str]) -> str:
    """Returns a line for the shell; paths in the words are relative to where they were typed."""
    line = shlex.join(["python", "-m", "metalearn", *words])
    return f"cd {shlex.quote(content['cwd'])} && {line}" if _is_from_elsewhere(content) else line


def _is_from_elsewhere(content: Content) -> bool:
    return content["cwd"] != os.getcwd()
