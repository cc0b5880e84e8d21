"""Image files in folders as a source: listing, detection of changes, and reading."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metalearn.data.bank import consecutive_rows
from metalearn.data.files.any_image import LARGEST, as_bytes, open_image
from metalearn.data.files.image_array import Plan
from metalearn.data.files.names import check_utf8, some
from metalearn.data.files.regular import file_version, read_regular
from metalearn.types import SPLITS, Split

PROCESSING = 2  # part of the cache keys; increase it when `decode` changes its pixels
SUFFIXES = (".jpg", ".jpeg", ".png")

ClassLists = dict[Split, tuple[str, ...]]
Files = dict[str, str]
"""Image files by path, each with its name, size and time of change, to detect changes."""


def images_in(folder: Path) -> Files:
    """Lists the image files of a folder, sorted by name."""
    descriptor = os.open(folder, os.O_RDONLY)  # spares the kernel 60,000 lookups of a long path
    try:
        # Folders packed on a Mac have a hidden "._name.jpg" beside every image.
        names = [name for name in os.listdir(descriptor) if name[0] != "." and name.lower().endswith(SUFFIXES)]
        files: Files = {}
        for name in sorted(names):
            files[f"{folder}/{name}"] = file_version(f"{folder}/{name}", os.stat(name, dir_fd=descriptor))
        return files
    finally:
        os.close(descriptor)


def files_of(root: Path, classes: ClassLists) -> dict[Split, dict[str, Files]]:
    """Lists the images of each class, in <root>/<class> or <root>/<train, val or test>/<class>.

    Raises ValueError that names missing classes, or a class in a wrong split.
    """
    found: dict[Split, dict[str, Path]] = {
        split: {name: folder for name in names if (folder := _folder_of(root, split, name)) is not None}
        for split, names in classes.items()
    }
    missing = [name for split, names in classes.items() for name in names if name not in found[split]]
    if missing:
        total = sum(map(len, classes.values()))
        where = f"{root} has {total - len(missing)} of {total} classes as folders"
        raise ValueError(f"{where}, itself or in train, val and test; missing {some(missing)}")
    return {split: {name: images_in(path) for name, path in paths.items()} for split, paths in found.items()}


def _folder_of(root: Path, split: Split, name: str) -> Path | None:
    """Finds the folder of a class. Raises ValueError if it is in another split."""
    for parent in (split, *(other for other in SPLITS if other != split), ""):
        if (folder := root / parent / name).is_dir():
            if parent not in (split, ""):
                raise ValueError(f"{folder} is in the wrong place: the class belongs to {split}")
            return folder
    return None


def equal_rows(classes: ClassLists, num_images: int) -> dict[Split, dict[str, np.ndarray]]:
    """Returns the rows of a plan whose classes have `num_images` each, one class after another."""
    return {
        split: dict(zip(names, consecutive_rows([num_images] * len(names)), strict=True))
        for split, names in classes.items()
    }


def plan_of_files(files: dict[Split, dict[str, Files]]) -> Plan:
    """Plans the images of the classes in turn, in the order of the files."""
    paths = [path for classes in files.values() for of_class in classes.values() for path in of_class]
    check_utf8(paths)
    rows: dict[Split, dict[str, np.ndarray]] = {}
    identity = hashlib.sha256(f"{PROCESSING}\n".encode())
    for split, classes in files.items():
        rows[split] = dict(zip(classes, consecutive_rows([*map(len, classes.values())]), strict=True))
        for name, of_class in classes.items():
            identity.update("\n".join([f"{split} {name} {len(of_class)}", *of_class.values(), ""]).encode())

    def read(start: int) -> Iterator[np.ndarray]:
        return (decode(read_regular(path, LARGEST), path) for path in paths[start:])

    return Plan(rows, identity.hexdigest(), read)


def decode(content: bytes, where: str) -> np.ndarray:
    """Decodes a JPEG or PNG to (H, W, 3) uint8, as a new image is (`any_image.decode`).

    Raises ValueError that names the damaged file.
    """
    try:
        with open_image(content, ("JPEG", "PNG")) as image:
            return np.asarray(as_bytes(image, channels=3))
    except ValueError as error:
        raise ValueError(f"{where} is damaged, or no JPEG or PNG image ({error})") from error
