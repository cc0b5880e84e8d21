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
    """Returns the command line of a sweep, as it was typed last, with its directory from here."""
    content = read(sweep)
    typed = content.get("typed") or ["-m", *content["command"]]
    words = [word for word in typed if not word.lstrip("+").startswith("hydra.sweep.dir=")]
    return shlex.join(["python", "-m", "metalearn", *words, f"hydra.sweep.dir={sweep}"])
