"""Which image files a user has of which classes: found in folders, or in a list."""

import csv
import os
from pathlib import Path

from metalearn.data.files.image_files import Files, some
from metalearn.types import SPLITS, Split

ADVICE = (
    "dataset.root=PATH is a folder with a folder of images for each class, train/, val/ and test/ with these, "
    "or a CSV file of path,label (docs/datasets/folder.md)"
)

SplitFiles = dict[Split, dict[str, Files]]  # the files of each class


def split_folders(root: Path) -> SplitFiles:
    """The classes of train/, val/ and test/; nothing when none of these has folders."""
    parts = [split for split in SPLITS if (root / split).is_dir() and _folders(root / split)]
    files: SplitFiles = {split: files_by_folder(root / split) for split in parts}
    names = [name for of_split in files.values() for name in of_split]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{root} has classes in two splits: {some(twice)}")
    return files


def files_by_folder(root: Path) -> dict[str, Files]:
    """The files of each class."""
    if not (names := _folders(root)):
        raise FileNotFoundError(f"{root.absolute()} has no folders of images; {ADVICE}")
    return {name: _files_in(root / name) for name in names}


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != ".")


def _files_in(folder: Path) -> Files:
    """All files but hidden ones, whatever their names; ValueError when there is a folder among them."""
    files: Files = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name[0] == ".":
            continue
        if entry.is_dir():
            raise ValueError(f"{folder} holds the folder {entry.name}, but a class is one folder of images")
        files[f"{folder}/{entry.name}"] = _identity(entry.name, entry.stat())
    return files


def files_by_list(path: Path) -> dict[str, Files]:
    """The files of each class that a CSV file names, by paths from where it is."""
    files: dict[str, Files] = {}
    seen: set[str] = set()
    absent: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            if (header := next(lines, [])) != ["path", "label"]:
                raise ValueError(f"its first line is '{','.join(header)}'")
            for name, label in filter(None, lines):
                image = os.path.normpath(path.parent / name)
                if image in seen or not label:
                    raise ValueError(f"{name} is there twice" if label else f"{name} has no label")
                seen.add(image)
                try:
                    files.setdefault(label, {})[image] = _identity(name, os.stat(image))
                except FileNotFoundError:
                    absent.append(name)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file of path,label ({error})") from error
    if absent:
        raise FileNotFoundError(f"{len(absent)} of {len(seen)} files that {path} names are absent: {some(absent)}")
    if not files:
        raise ValueError(f"{path} names no files")
    return {label: dict(sorted(files[label].items())) for label in sorted(files)}


def _identity(name: str, stat: os.stat_result) -> str:
    return f"{name} {stat.st_size} {stat.st_mtime_ns}"
