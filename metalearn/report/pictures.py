"""Pictures of test episodes that runs have left, as addresses that need no other file."""

from base64 import b64encode
from typing import NamedTuple

from metalearn.report.comparison import Comparison
from metalearn.report.sheet import Text

MOST = 4
"""Most pictures of a report."""

LARGEST = 1_000_000
"""Largest file in bytes."""


class Picture(NamedTuple):
    """The first test episode of a run."""

    name: Text
    column: str
    address: str


def pictures(comparison: Comparison) -> list[Picture]:
    """Returns the first test episode of the best method of each column."""
    found = []
    for column in comparison.columns:
        for cell in comparison.in_column(column):
            files = (run.folder / "test_episode.png" for run in cell.completed if not run.setting)
            file = next((path for path in files if path.is_file() and path.stat().st_size <= LARGEST), None)
            if file is not None:
                address = f"data:image/png;base64,{b64encode(file.read_bytes()).decode()}"
                found.append(Picture(comparison.label(cell), str(column), address))
                break
    return found[:MOST]
