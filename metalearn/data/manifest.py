"""Split of a user's classes into meta-train, meta-val and meta-test: drawn once, kept as CSV."""

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from metalearn.data.files.image_files import ClassLists
from metalearn.data.files.names import class_name, some
from metalearn.data.files.table import BadLine, read_lines
from metalearn.data.overlap import warn_of_capitals
from metalearn.files import write_text
from metalearn.formats import csv_text
from metalearn.types import SPLITS, Split

log = logging.getLogger(__name__)

HEADER = ["split", "class"]
Filled = TypeVar("Filled", bound=Sized)


@dataclass(frozen=True)
class Division:
    """Division of the classes: by the manifest if it exists, else by these fractions."""

    source: str  # name of the data set
    root: Path  # place of its classes
    manifest: Path
    fractions: Sequence[float]
    seed: int

    def __post_init__(self) -> None:
        split = self.fractions
        if len(split) != len(SPLITS) or min(split) < 0 or not abs(sum(split) - 1) <= 1e-6:
            what = f"split={split} must be the fractions of train, val and test, which add up to 1"
            raise ValueError(f"{self.source}: {what}")

    def classes(self, names: Collection[str]) -> ClassLists:
        """Returns the classes of each split.

        Raises ValueError if the manifest has other classes, or if the draw leaves a split empty.
        """
        warn_of_capitals(self.source, names)
        return self._given(names) if self.manifest.exists() else self._drawn(names)

    def keep(self, classes: ClassLists) -> None:
        """Writes the manifest of a drawn split."""
        if not self.manifest.exists():
            write_manifest(self.manifest, classes)
            log.info("%s: the split is drawn, and kept in %s", self.source, self.manifest)

    def _drawn(self, names: Iterable[str]) -> ClassLists:
        """Draws a split by the fractions."""
        if not self.manifest.parent.is_dir():
            raise FileNotFoundError(f"the folder of the manifest {self.manifest.absolute()} is absent")
        return draw_split(names, self.fractions, self.seed)

    def _given(self, names: Iterable[str]) -> ClassLists:
        """Reads the split of the manifest. Raises ValueError if one of its classes is absent."""
        classes = read_manifest(self.manifest)
        wanted, present = {name for of_split in classes.values() for name in of_split}, set(names)
        if wanted.isdisjoint(present):
            advice = "dataset.manifest=FILE names another, which is drawn where it is absent"
            raise ValueError(f"{self.manifest} is the split of another data set than {self.root}; {advice}")
        if missing := sorted(wanted - present):
            raise ValueError(f"{self.root} lacks {len(missing)} classes of {self.manifest}: {some(missing)}")
        if others := sorted(present - wanted):
            message = "%s: %d classes are not in %s and left out: %s"
            log.warning(message, self.source, len(others), self.manifest, some(others))
        return classes


def complete(splits: Mapping[Split, Filled], where: Path) -> dict[Split, Filled]:
    """Returns the splits that have classes. Raises ValueError unless all have, or test alone."""
    filled = {split: classes for split, classes in splits.items() if classes}
    if [*filled] not in ([*SPLITS], ["test"]):
        missing = " and ".join(split for split in SPLITS if split not in filled)
        raise ValueError(f"{where} has no classes for {missing}: all three splits are needed, or test alone")
    return filled


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
            raise ValueError(
                f"{len(order)} classes are too few: {split} gets none by the fraction {fraction:g}; raise it"
            )
    return classes


def read_manifest(path: Path) -> ClassLists:
    """Reads the sorted classes of each split. Raises ValueError for a damaged list."""
    split_of: dict[str, str] = {}
    try:
        for line, (split, spelling) in read_lines(path, HEADER):
            name = class_name(spelling)
            if split not in SPLITS:
                raise BadLine(line, f"'{split}' is not one of {', '.join(SPLITS)}")
            if not name or name in split_of:
                raise BadLine(line, f"the class {name} is listed twice" if name else "the class has no name")
            split_of[name] = split
        if not split_of:
            raise ValueError("it lists no classes")
    except ValueError as error:
        raise ValueError(f"{path} is not a CSV file of split,class ({error})") from error
    return {split: tuple(sorted(name for name in split_of if split_of[name] == split)) for split in SPLITS}


def write_manifest(path: Path, classes: ClassLists) -> None:
    """Writes the list for `read_manifest`, in the format of the package's published splits."""
    lines = [(split, name) for split, names in classes.items() for name in names]
    write_text(path, csv_text([HEADER, *lines]))
