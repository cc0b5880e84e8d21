"""Outputs: a list, and copies in a folder for each class. No file is overwritten."""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from metalearn.files import check_free, write_text
from metalearn.formats import csv_text
from metalearn.predict.files import Item

NONE = "none of these"
"""Folder of images whose class was rejected."""

LONGEST = 200  # limit of a folder's name in bytes


class Answer(NamedTuple):
    """Image or text, and its class; None if no class is likely enough."""

    item: Item
    label: str | None
    probability: float


def check_outputs(csv_file: Path | None, page: Path | None, folder: Path | None) -> None:
    """Raises ValueError if an output exists already or twice, or its folder does not."""
    given = [path for path in (csv_file, page, folder) if path]
    if len({path.resolve() for path in given}) < len(given):
        raise ValueError(f"two outputs have the path {given[-1]}: name another for each")
    for path in filter(None, (csv_file, page)):
        check_free(path)
    if folder and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already and is not empty: name another folder")


def write_csv(path: Path, column: str, answers: Iterable[Answer]) -> None:
    """Writes a line for each answer; its label is empty if the item was rejected."""
    lines = [(item, label, f"{probability:.4f}") for item, label, probability in answers]
    write_text(path, csv_text([(column, "label", "probability"), *lines]), errors="surrogateescape")


def sort_into(folder: Path, answers: Sequence[Answer]) -> None:
    """Copies each image to the folder of its class; the second with a name becomes name-2."""
    names = folder_names({label for _, label, _ in answers if label is not None})
    for item, label, _ in answers:
        _copy(Path(item), folder / (NONE if label is None else names[label]))


def _copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = _free(path.stem, path.suffix, lambda name: (folder / name).exists())
    shutil.copy2(path, folder / name)


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """Returns a folder's name of its own for each label; the second with a name becomes name-2.

    Labels that are the name of a folder come first. No label has the folder of rejected images.
    """
    names: dict[str, str] = {}
    for label in sorted(labels, key=lambda label: (folder_name(label) != label, label)):
        names[label] = _free(folder_name(label), "", lambda name: name == NONE or name in names.values())
    return names


def folder_name(label: str) -> str:
    """Converts a label to the name of one folder, without a path."""
    name = re.sub(r"[/\\\x00-\x1f]|^\.+", "_", label)[:LONGEST] or "_"
    while len(os.fsencode(name)) > LONGEST:
        name = name[:-1]
    return name


def _free(stem: str, suffix: str, is_taken: Callable[[str], bool]) -> str:
    """Returns the first name of stem, stem-2, stem-3, ... that is not taken."""
    name, numbers = f"{stem}{suffix}", count(2)
    while is_taken(name):
        name = f"{stem}-{next(numbers)}{suffix}"
    return name
