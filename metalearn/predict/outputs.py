"""Outputs: a list, and copies in a folder for each class. No file is overwritten."""

import csv
import io
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from metalearn.files import write_atomically
from metalearn.predict.reader import Item

NONE = "none of these"
"""Folder of images whose class was rejected."""


class Answer(NamedTuple):
    """Image or text, and its class; None if no class is likely enough."""

    item: Item
    label: str | None
    probability: float


def check_free(csv_file: Path | None, page: Path | None, folder: Path | None) -> None:
    """Raises ValueError if an output exists already, or its folder does not."""
    for path in filter(None, (csv_file, page)):
        if path.exists():
            raise ValueError(f"{path} exists already: name another file, or remove it")
        if not path.parent.is_dir():
            raise ValueError(f"{path.parent} is not a folder, so {path.name} cannot be written there")
    if folder and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already and is not empty: name another folder")


def write_csv(path: Path, column: str, answers: Iterable[Answer]) -> None:
    """Writes a line for each answer; its label is empty if the item was rejected."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([column, "label", "probability"])
    lines.writerows((item, label or "", f"{probability:.4f}") for item, label, probability in answers)
    write_atomically(path, lambda file: file.write(text.getvalue().encode(errors="surrogateescape")))


def sort_into(folder: Path, answers: Iterable[Answer]) -> None:
    """Copies each image to the folder of its class; the second with a name becomes name-2."""
    for item, label, _ in answers:
        path = Path(item)
        of_class = folder / folder_name(NONE if label is None else label)
        of_class.mkdir(parents=True, exist_ok=True)
        target, number = of_class / path.name, 1
        while target.exists():
            number += 1
            target = of_class / f"{path.stem}-{number}{path.suffix}"
        shutil.copy2(path, target)


def folder_name(label: str) -> str:
    """Converts a label to the name of one folder, without a path."""
    return re.sub(r"[/\\\x00-\x1f]|^\.+", "_", label)[:200] or "_"
