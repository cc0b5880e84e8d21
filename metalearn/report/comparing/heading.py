"""The heading of a report: which folders it compares, the command of a sweep, and its date."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from metalearn.report.reading.runs import Run
from metalearn.run.command import sweep_command
from metalearn.run.directory.folder import RunFolder


class Heading(NamedTuple):
    """Title, date of the last result, and the commands of the sweeps."""

    title: str
    date: str
    commands: list[str]


def heading(folders: Sequence[Path], runs: Sequence[Run]) -> Heading:
    """Returns the heading of a report on `folders`; the date is in UTC."""
    names = [folder.resolve().name for folder in folders]
    title = names[0] if len(names) == 1 else f"A comparison of {', '.join(names)}"
    times = [path.stat().st_mtime for run in runs if (path := RunFolder(run.folder).result).is_file()]
    date = datetime.fromtimestamp(max(times), UTC).strftime("%Y-%m-%d %H:%M UTC") if times else ""
    sweeps = dict.fromkeys([*folders, *(run.folder.parent for run in runs)])
    return Heading(title, date, list(filter(None, map(_command, sweeps))))


def _command(sweep: Path) -> str:
    """Returns what was typed for a sweep; nothing where no file states it."""
    try:
        return sweep_command.as_typed(sweep)
    except (OSError, ValueError):
        return ""
