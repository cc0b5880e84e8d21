"""Split of a user's classes into meta-train, meta-val and meta-test: drawn once, kept as CSV."""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from metalearn.data.files.image_files import ClassLists
from metalearn.data.files.names import class_name
from metalearn.data.files.table import BadLine, read_lines
from metalearn.files import write_atomically
from metalearn.types import SPLITS

HEADER = ["split", "class"]


def draw_split(names: Iterable[str], fractions: Sequence[float], seed: int) -> ClassLists:
    """Splits the names into three parts by fractions that add up to 1; each part is sorted.

    The order is by a hash of seed and name, which is stable across all versions. Raises ValueError
    if a part with a positive fraction gets no class.
    """
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    ends = np.rint(np.cumsum(fractions) * len(order)).astype(int)
    parts = (order[begin:end] for begin, end in zip([0, *ends], ends, strict=False))
    classes: ClassLists = {split: tuple(sorted(part)) for split, part in zip(SPLITS, parts, strict=True)}
    for split, fraction in zip(SPLITS, fractions, strict=True):
        if fraction and not classes[split]:
            raise ValueError(f"{len(order)} classes are too few: {fraction:g} of them for {split} are none")
    return classes


def read_manifest(path: Path) -> ClassLists:
    """Reads the sorted classes of each split. Raises ValueError for a damaged list."""
    split_of: dict[str, str] = {}
    try:
        for line, (split, spelling) in read_lines(path, HEADER):
            name = class_name(spelling)
            if split not in SPLITS:
                raise BadLine(line, f"'{split}' is none of {', '.join(SPLITS)}")
            if not name or name in split_of:
                raise BadLine(line, f"the class {name} is there twice" if name else "the class has no name")
            split_of[name] = split
    except ValueError as error:
        raise ValueError(f"{path} is no CSV file of split,class ({error})") from error
    return {split: tuple(sorted(name for name in split_of if split_of[name] == split)) for split in SPLITS}


def write_manifest(path: Path, classes: ClassLists) -> None:
    """Writes the list for `read_manifest`, in the format of the package's published splits."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(HEADER)
    lines.writerows((split, name) for split, names in classes.items() for name in names)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
