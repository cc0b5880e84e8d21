"""Inspection of image files before use: unreadable files, duplicates, and brightness."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from metalearn.data.files.any_image import BYTE, LARGEST, brightest
from metalearn.data.files.cache import Arrays, cached
from metalearn.data.files.regular import read_regular

DIGEST = 16  # bytes of a digest
# Fraction of white. If no pixel is brighter, the images probably use a smaller range of values.
DARK = 0.25


@dataclass(frozen=True)
class Inspection:
    """Results of an inspection of files."""

    reasons: dict[str, str]  # reason why a file is no image, by path
    digests: dict[str, bytes]  # digest of each image's content
    # Largest pixel value of the images of 8 and of 16 bits, if there are any.
    largest: dict[int, int]

    @property
    def bits(self) -> int:
        """The number of bits that 16-bit images use, at least 8; 16 without such images."""
        return max(BYTE, self.largest[16].bit_length()) if 16 in self.largest else 16

    @property
    def brightness(self) -> float:
        """The largest pixel value as a fraction of white."""
        white = {BYTE: 255, 16: 2**self.bits - 1}
        return max((value / white[bits] for bits, value in self.largest.items()), default=1.0)


def look_through(paths: list[str], cache: Path) -> Inspection:
    """Inspects files, or reads the result from `cache`; only the first call reads all files."""
    found = cached(cache, lambda: _look(paths))
    reasons = {paths[i]: str(why) for i, why in zip(found["rows"], found["reasons"], strict=True)}
    images = [path for path in paths if path not in reasons]
    digests = {path: digest.tobytes() for path, digest in zip(images, found["digests"], strict=True)}
    return Inspection(reasons, digests, {int(bits): int(value) for bits, value in found["largest"]})


def _look(paths: list[str]) -> Arrays:
    reasons: dict[int, str] = {}
    digests: list[bytes] = []
    largest: dict[int, int] = {}
    for i, path in enumerate(track(paths, "folder, looking through", console=Console(stderr=True), transient=True)):
        try:
            content = read_regular(path, LARGEST)
            value, bits = brightest(content)
        except ValueError as error:
            reasons[i] = str(error)
            continue
        largest[bits] = max(value, largest.get(bits, 0))
        digests.append(hashlib.sha256(content).digest()[:DIGEST])
    return {
        "rows": np.array([*reasons], np.int64),
        "reasons": np.array([*reasons.values()], np.str_),
        "digests": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST),
        "largest": np.array([*largest.items()], np.int64).reshape(-1, 2),
    }
