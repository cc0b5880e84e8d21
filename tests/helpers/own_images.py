"""A folder of images of many formats and sizes, like that of a user."""

import csv
import random
from pathlib import Path
from typing import Any

import pytest
from tiny_images import encoded, pixels

from metalearn.data.bank import ClassBank
from metalearn.data.folder import Folder
from metalearn.data.manifest import draw_split
from metalearn.types import Split

# Images of each class.
SIZES = {f"class {letter}": 3 + number % 4 for number, letter in enumerate("abcdefghij")}
FRACTIONS = [0.6, 0.2, 0.2]
PARTS = draw_split(SIZES, FRACTIONS, 0)
KINDS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
Banks = dict[Split, ClassBank]


def source(root: Path, **changes: Any) -> Folder:
    """Builds the data set, with caches and manifest beside the images."""
    arguments: dict[str, Any] = {
        "cache": str(root.parent / "cache"),
        "manifest": str(root.parent / "classes.csv"),
        "split": FRACTIONS,
        "split_seed": 0,
        "max_unreadable": 0.01,
        "invert": False,
        "input_shape": [3, 12, 12],
    }
    return Folder(str(root), **arguments | changes)


def write(root: Path) -> Path:
    """Writes class folders with images of many formats and sizes."""
    for number, (name, size) in enumerate(SIZES.items()):
        (root / name).mkdir(parents=True)
        for i in range(size):
            kind = KINDS[(number + i) % len(KINDS)]
            image = pixels(10 * number + i, 12 + i, 12 + number)
            (root / name / f"{i}.{kind.lower()}").write_bytes(encoded(image, kind))
    return root


def divide(root: Path) -> Path:
    """Moves the class folders to train/, val/ and test/."""
    for split, names in PARTS.items():
        (root / split).mkdir()
        for name in names:
            (root / name).rename(root / split / name)
    return root


def write_list(path: Path, root: Path) -> Path:
    """Writes a list of the images in no order, by paths relative to the list."""
    lines = [(image.relative_to(path.parent), image.parent.name) for image in root.rglob("*.*")]
    random.Random(0).shuffle(lines)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *lines])
    return path


def hashes(banks: Banks) -> list[str]:
    return [bank.sha256() for bank in banks.values()]


def refusal(root: Path, **changes: Any) -> str:
    """Returns the one line of the error; the attempt may leave neither array nor manifest."""
    with pytest.raises((OSError, ValueError), match="^folder: ") as caught:
        source(root, **changes).load()
    assert "\n" not in str(caught.value)
    assert not list(root.parent.glob("cache/*.npy*")) and not (root.parent / "classes.csv").exists()
    return str(caught.value)
