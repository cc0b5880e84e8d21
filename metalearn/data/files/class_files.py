"""Image files of a user's classes, found in folders or in a list."""

import os
from pathlib import Path

from metalearn.data.files.image_files import Files
from metalearn.data.files.names import check_one_spelling, check_utf8, class_name, some
from metalearn.data.files.regular import file_version
from metalearn.data.files.table import BadLine, read_lines
from metalearn.data.overlap import in_two_splits, warn_of_capitals
from metalearn.types import SPLITS, Split

ADVICE = (
    "dataset.root=PATH is a folder with a folder of images for each class, train/, val/ and test/ with these, "
    "or a CSV file of path,label (docs/datasets/folder.md)"
)

SplitFiles = dict[Split, dict[str, Files]]  # files of each class


def split_folders(root: Path) -> SplitFiles:
    """Finds the classes of train/, val/ and test/; returns {} if none of these has folders."""
    folders = {split: _folders(root / split) for split in SPLITS if (root / split).is_dir()}
    folders = {split: names for split, names in folders.items() if names}
    folder_of = {split: {class_name(name): f"{split}/{name}" for name in names} for split, names in folders.items()}
    if twice := in_two_splits(folder_of):
        pairs = some([" and ".join(folder_of[split][name] for split in splits) for name, splits in twice.items()])
        remedy = f"dataset.root={root / next(iter(folders))} divides the classes of one folder anew"
        raise ValueError(f"{root} has classes in two splits: {pairs}; {remedy}")
    warn_of_capitals("folder", [name for of_split in folder_of.values() for name in of_split])
    return {split: files_by_folder(root / split) for split in folders}


def files_by_folder(root: Path) -> dict[str, Files]:
    """Finds the files of each class."""
    if not (names := _folders(root)):
        raise FileNotFoundError(f"{root.absolute()} has no folders of images; {ADVICE}")
    check_utf8(f"{root}/{name}" for name in names)
    check_one_spelling(names)
    return {class_name(name): _files_in(root / name) for name in names}


def _folders(root: Path) -> list[str]:
    """Lists the names of the class folders. Raises ValueError for a blank one."""
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != ".")
    if blank := [name for name in names if not class_name(name)]:
        raise ValueError(f"{root} holds the folder {blank[0]!r}, whose name is blank: rename it")
    return names


def _files_in(folder: Path) -> Files:
    """Lists all files except hidden ones. Raises ValueError for a folder or a pipe."""
    files: Files = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name[0] == ".":
            continue
        if entry.is_dir():
            raise ValueError(f"{folder} holds the folder {entry.name}, but a class is one folder of images")
        files[entry.path] = file_version(entry.path, entry.stat())
    return files


def files_by_list(path: Path) -> dict[str, Files]:
    """Reads the files of each class from a CSV file, by paths relative to it."""
    files: dict[str, Files] = {}
    seen: dict[str, int] = {}
    absent: list[str] = []
    try:
        for line, (name, label) in read_lines(path, ["path", "label"]):
            if not name:
                raise BadLine(line, "its path is empty")
            image = os.path.normpath(path.parent / name)
            if image in seen:
                raise BadLine(line, f"{name} is listed twice, first in line {seen[image]}")
            if not class_name(label):
                raise BadLine(line, f"{name} has no label")
            seen[image] = line
            of_class = files.setdefault(label, {})
            try:
                of_class[image] = file_version(image, os.stat(image), name)
            except FileNotFoundError:
                absent.append(name)
            except (ValueError, OSError) as error:  # no regular file, or an impossible name
                raise BadLine(line, str(error)) from error
        check_one_spelling(files)
    except ValueError as error:
        raise ValueError(f"{path} is not a CSV file of path,label ({error})") from error
    if absent:
        raise FileNotFoundError(f"{len(absent)} of {len(seen)} files listed in {path} are missing: {some(absent)}")
    if not files:
        raise ValueError(f"{path} names no files")
    return {class_name(label): dict(sorted(files[label].items())) for label in sorted(files, key=class_name)}
