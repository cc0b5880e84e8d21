"""A few classes of small images, in the layouts of the image data sets."""

import csv
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metalearn.data.photographs import AbstractPhotographs
from metalearn.types import Split

CLASSES: dict[Split, tuple[str, ...]] = {
    "train": ("n00000001", "n00000002", "n00000003"),
    "val": ("n00000004", "n00000005"),
    "test": ("n00000006", "n00000007"),
}
NUM_IMAGES = 4  # images of each class
SHAPE = (3, 12, 12)
Images = dict[str, dict[str, np.ndarray]]  # (12, 12, 3) by class and name, decoded from JPEG


def pixels(seed: int, height: int = 12, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def refusal(source: AbstractPhotographs) -> str:
    """Returns the one line of the error; the attempt may leave nothing behind."""
    with pytest.raises((OSError, ValueError), match=f"^{source.name}: ") as caught:
        source.load()
    assert "\n" not in str(caught.value)
    assert not source.cache.exists() or not list(source.cache.iterdir())
    return str(caught.value)


def write_csv_layout(root: Path) -> Path:
    """Writes images/ with train.csv, val.csv and test.csv."""
    (root / "images").mkdir(parents=True)
    seed = 0
    for split, names in CLASSES.items():
        lines = [("filename", "label")]
        for name in names:
            for i in range(NUM_IMAGES):
                file = f"{name}{i + 1:08d}.jpg"
                (root / "images" / file).write_bytes(encoded(pixels(seed := seed + 1)))
                lines.append((file, name))
        with (root / f"{split}.csv").open("w", newline="") as out:
            csv.writer(out).writerows(lines)
    return root


def decoded(root: Path) -> Images:
    """Decodes the images of a CSV layout."""
    found: Images = {name: {} for names in CLASSES.values() for name in names}
    for path in sorted((root / "images").iterdir()):
        with Image.open(path) as image:
            found[path.name[:9]][path.name] = np.asarray(image)
    return found


def write_folders(root: Path, source: Path, *, splits: bool = True) -> Path:
    """Writes the images of a CSV layout to folders <class>, or <split>/<class>."""
    for split, names in CLASSES.items():
        for name in names:
            folder = root / split / name if splits else root / name
            folder.mkdir(parents=True)
            for path in (source / "images").glob(f"{name}*.jpg"):
                (folder / path.name).write_bytes(path.read_bytes())
    return root


class Python2Pickler(pickle._Pickler):
    """Pickler of Python 2: text and bytes have one opcode, which does not distinguish them."""

    dispatch = pickle._Pickler.dispatch.copy()

    def __init__(self, file: Any) -> None:
        super().__init__(file, 2)

    def save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)

    def save_str(self, text: str) -> None:
        self.save_bytes(text.encode())

    dispatch[bytes] = save_bytes
    dispatch[str] = save_str


def dumped(content: Any, protocol: int | str) -> bytes:
    """Pickles in a current protocol, or in that of "python 2"."""
    if isinstance(protocol, int):
        return pickle.dumps(content, protocol)
    file = io.BytesIO()
    Python2Pickler(file).dump(content)
    return file.getvalue()
