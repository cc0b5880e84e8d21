"""sweep.json: the jobs of a sweep and its command, in the directory above the jobs."""

import json
import shlex
from pathlib import Path
from typing import NotRequired, TypedDict

NAME = "sweep.json"


class Content(TypedDict):
    """Content of sweep.json."""

    command: list[str]  # the part of the command line that defines the jobs
    typed: NotRequired[list[str]]  # the whole command line, as it was typed last
    jobs: dict[str, list[str]]  # overrides by directory; empty for a search


def read(sweep: Path) -> Content:
    """Returns the content of the file. Raises ValueError in one line where it is damaged."""
    from typeguard import TypeCheckError, check_type  # late, because --help must not wait for it

    path = sweep / NAME
    try:
        return check_type(json.loads(path.read_text()), Content)
    except (ValueError, TypeCheckError) as error:
        raise ValueError(f"{path} is not the list of jobs of a sweep: {error}") from error


def command_line(sweep: Path) -> str:
    """Returns the command line of a sweep with its name, as it was typed last."""
    typed = _typed(sweep)
    return _line(typed if any(map(_is_place, typed)) else [*typed, f"hydra.sweep.dir={sweep}"])


def command_from_here(sweep: Path) -> str:
    """Returns the command line of a sweep whose path is relative to the working directory."""
    return _line([*(word for word in _typed(sweep) if not _is_place(word)), f"hydra.sweep.dir={sweep}"])


def _typed(sweep: Path) -> list[str]:
    content = read(sweep)
    return content.get("typed") or ["-m", *content["command"]]


def _is_place(word: str) -> bool:
    return word.lstrip("+").startswith("hydra.sweep.dir=")


def _line(words: list[str]) -> str:
    return shlex.join(["python", "-m", "metalearn", *words])
