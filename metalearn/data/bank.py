"""The one form that every data set takes: a tensor of images and, for each class, the rows that are its own."""

import hashlib
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassBank:
    """The images of one split as bytes, in memory or mapped from a file; episodes are rows of it."""

    images: Tensor  # (M, C, H, W) uint8
    rows: tuple[np.ndarray, ...]  # for each class, the rows of its images, int64
    names: tuple[str, ...]  # of the classes
    mapping: mmap.mmap | None = None  # of the file that the images are in; nobody may write into them
    known_sha256: str | None = None  # of the same content, from when the file was written: it is not read through again

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8
        assert self.images.ndim == 4
        assert len(self.rows) == len(self.names) == len(set(self.names))

    @property
    def num_classes(self) -> int:
        return len(self.rows)

    @cached_property
    def smallest_class(self) -> int:
        """Number of images of the class that has fewest."""
        return min(len(rows) for rows in self.rows)

    @property
    def name_of_smallest(self) -> str:
        """The name of that class; of the first, where there are several."""
        return next(name for name, rows in zip(self.names, self.rows, strict=True) if len(rows) == self.smallest_class)

    def release_pages(self) -> None:
        """Let go of what was read of a mapped file: the kernel keeps it, and maps it again as fast.

        Otherwise the memory of each process grows by the whole file in the course of a training.
        """
        if self.mapping is not None:
            self.mapping.madvise(mmap.MADV_DONTNEED)

    def sha256(self) -> str:
        """Hash of the classes and of every pixel: two banks of the same hash hold the same data."""
        return self.known_sha256 or content_sha256(self.names, self.rows, [self.images.contiguous().numpy().data])

    @staticmethod
    def from_classes(images: np.ndarray, names: list[str]) -> "ClassBank":
        """A bank of equally large classes, from images (classes, images of a class, C, H, W)."""
        num_classes, per_class = images.shape[:2]
        rows = np.arange(num_classes * per_class).reshape(num_classes, per_class)
        flat = images.reshape(num_classes * per_class, *images.shape[2:])
        return ClassBank(torch.from_numpy(flat), tuple(rows), tuple(names))


def content_sha256(names: Iterable[str], rows: Iterable[np.ndarray], pixels: Iterable[bytes | memoryview]) -> str:
    """The hash of a bank of these classes, whose pixels come in pieces, in the order of the rows."""
    digest = hashlib.sha256()
    for name, of_class in zip(names, rows, strict=True):
        digest.update(f"{name}:{of_class.tolist()};".encode())
    for piece in pixels:
        digest.update(piece)
    return digest.hexdigest()
