"""Omniglot in its real layout of 1,623 x 20 files, with a few patterns instead of the drawings."""

import functools
import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metalearn.data.bank import ClassBank
from metalearn.data.omniglot import Omniglot
from metalearn.data.splits import read_split
from metalearn.types import Split

LAKE = read_split("omniglot", "lake")
HALVES = {"images_background": LAKE["train"] + LAKE["val"], "images_evaluation": LAKE["test"]}
Drawings = dict[str, bytes]  # PNG by "images_background/Alphabet/characterNN/0001_01.png"


def png(pixels: np.ndarray) -> bytes:
    """Encodes a PNG of 1 bit, like those of the data set: paper True, ink False, (H, W)."""
    file = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(file, "PNG")
    return file.getvalue()


def strokes() -> np.ndarray:
    """Returns a character like a lopsided Z with a dot, (105, 105) bool, equal on every machine."""
    paper = np.ones((105, 105), bool)
    paper[20:23, 15:80] = False
    for i in range(60):
        paper[23 + i, 78 - i : 81 - i] = False
    paper[83:86, 18:60] = False
    paper[60:64, 85:89] = False
    return paper


PATTERNS = [png(np.roll(strokes(), (shift, 2 * shift), axis=(0, 1))) for shift in range(11)]


@functools.cache
def drawings() -> Drawings:
    characters = [f"{half}/{character}" for half, characters in HALVES.items() for character in characters]
    return {
        f"{character}/{i:04d}_{k:02d}.png": PATTERNS[(i * (k % 3 + 1) + k) % len(PATTERNS)]
        for i, character in enumerate(characters)
        for k in range(1, 21)
    }


def write_zips(root: Path, drawings: Drawings) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for half in HALVES:
        with zipfile.ZipFile(root / f"{half}.zip", "w") as archive:
            for name, content in drawings.items():
                if name.startswith(half):
                    archive.writestr(name, content)
    return root


def write_folders(root: Path, drawings: Drawings) -> Path:
    (root / "patterns").mkdir(parents=True)
    for folder in {name.rsplit("/", 1)[0] for name in drawings}:
        (root / folder).mkdir(parents=True)
    for name, content in drawings.items():
        pattern = root / "patterns" / hashlib.md5(content).hexdigest()
        if not pattern.exists():
            pattern.write_bytes(content)
        os.link(pattern, root / name)  # links are fast: 32,460 take the time of a few files
    return root


def load(
    root: Path, cache: Path, split: str = "vinyals", rotations: bool = False, size: int = 14
) -> dict[Split, ClassBank]:
    source = Omniglot(
        str(root),
        cache=str(cache),
        split=split,
        rotations=rotations,
        input_shape=[1, size, size],
        url="http://127.0.0.1:9",  # address without a server
    )
    return source.load()


def refusal(root: Path, cache: Path) -> str:
    """Returns the one line of the error."""
    with pytest.raises((OSError, ValueError), match="^omniglot: ") as caught:
        load(root, cache)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def class_images(bank: ClassBank, name: str) -> np.ndarray:
    return bank.images[bank.rows[bank.names.index(name)]].numpy()  # (20, 1, H, W)
