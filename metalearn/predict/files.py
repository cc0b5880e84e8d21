"""Files of a user to be sorted, below folders of any depth."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


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
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(parent, name) for name in sorted(names) if name[0] != ".")
