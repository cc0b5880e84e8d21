"""Test episodes that runs have left: pictures, as addresses that need no other file, or texts."""

from pathlib import Path
from typing import NamedTuple

from metalearn.html import data_address
from metalearn.report.comparing.comparison import Comparison
from metalearn.report.sheet import Text

MOST = 4
"""Most episodes of a report."""

LARGEST = 1_000_000
"""Largest file in bytes."""

FILES = ("test_episode.png", "test_episode.txt")


class Picture(NamedTuple):
    """The first test episode of a run, of images or of texts."""

    name: Text
    column: str
    address: str | None
    transcript: str | None


def pictures(comparison: Comparison) -> list[Picture]:
    """Returns the first test episode of the best method of each column."""
    found = []
    for column in comparison.columns:
        for cell in comparison.in_column(column):
            files = (run.folder / name for run in cell.completed if not run.setting for name in FILES)
            file = next((path for path in files if path.is_file() and path.stat().st_size <= LARGEST), None)
            if file is not None:
                found.append(Picture(comparison.label(cell), str(column), *_shown(file)))
                break
    return found[:MOST]


def _shown(file: Path) -> tuple[str | None, str | None]:
    if file.suffix == ".txt":
        return None, file.read_text(encoding="utf-8", errors="replace")
    return data_address(file.read_bytes(), "image/png"), None
