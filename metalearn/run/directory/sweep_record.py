"""sweep.json: the jobs of a sweep and its command, in the directory above the jobs."""

import json
from pathlib import Path
from typing import NamedTuple

from metalearn.run.directory.as_json import decode

NAME = "sweep.json"


class SweepRecord(NamedTuple):
    """The jobs of a sweep and its command."""

    command: list[str]  # the part of the command line that defines the jobs
    typed: list[str]  # the whole command line, as it was typed last
    cwd: str  # working directory of that command line
    jobs: dict[str, list[str]]  # overrides by directory; empty for a search


def read(sweep: Path) -> SweepRecord:
    """Returns the content of the file. Raises ValueError in one line where it is damaged."""
    path = sweep / NAME
    try:
        record: SweepRecord = decode(SweepRecord, json.loads(path.read_text()), "")
    except ValueError as error:
        remedy = "put a copy of it back, or name another sweep with hydra.sweep.dir=DIR"
        raise ValueError(f"{path} is not the list of jobs of a sweep: {error}; {remedy}") from error
    return record
