"""Files of a user to be sorted, below folders of any depth."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

Item = Path | str
"""File of an image, or a text."""


def to_be_sorted(places: Iterable[Path]) -> list[Path]:
    """Returns the files, and all visible files below the folders, each once.

    Raises OSError for absent ones.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"--query {place} is absent")
        for path in _below(place) if place.is_dir() else [place]:
            found[path] = None
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    """Yields the files below a folder, through links too, but each folder once."""
    visited = set[str]()
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if (real := os.path.realpath(parent)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(parent, name) for name in sorted(names) if name[0] != ".")


def _raise(error: OSError) -> None:
    raise error
