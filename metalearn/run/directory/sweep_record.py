"""sweep.json: the jobs of a sweep and its command, in the directory above the jobs."""

import json
from pathlib import Path
from typing import TypedDict

NAME = "sweep.json"


class Content(TypedDict):
    """Content of sweep.json."""

    command: list[str]  # the part of the command line that defines the jobs
    typed: list[str]  # the whole command line, as it was typed last
    cwd: str  # working directory of that command line
    jobs: dict[str, list[str]]  # overrides by directory; empty for a search


def read(sweep: Path) -> Content:
    """Returns the content of the file. Raises ValueError in one line where it is damaged."""
    from typeguard import TypeCheckError, check_type  # late, because --help must not wait for it

    path = sweep / NAME
    try:
        return check_type(json.loads(path.read_text()), Content)
    except (ValueError, TypeCheckError) as error:
        raise ValueError(f"{path} is not the list of jobs of a sweep: {error}") from error
