"""The one form that every data set takes: a tensor of images and, for each class, the rows that are its own."""

import hashlib
import logging
import mmap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassBank:
    """The images of one split as bytes, in memory or mapped from a file; episodes are rows of it."""

    images: Tensor  # (M, C, H, W) uint8
    rows: tuple[np.ndarray, ...]  # for each class, the rows of its images, int64
    names: tuple[str, ...]  # of the classes
    mapping: mmap.mmap | None = None  # of the file that the images are in; nobody may write into them
    known_sha256: str | None = None  # of the same content, from when the file was written: it is not read through again

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise ValueError(
                f"{fault}; a ClassBank has images (M, C, H, W) uint8 and, for each class, its name and the "
                "rows of its images, each in one class"
            )

    def _fault(self) -> str | None:
        """What makes it no bank, if something does."""
        return self._fault_of_images() or self._fault_of_names() or self._fault_of_rows()

    def _fault_of_images(self) -> str | None:
        if not isinstance(self.images, Tensor) or self.images.dtype != torch.uint8 or self.images.ndim != 4:
            kind = getattr(self.images, "dtype", type(self.images).__name__)
            return f"images are {kind} {tuple(getattr(self.images, 'shape', ()))}"
        return None

    def _fault_of_names(self) -> str | None:
        if not self.names or len(self.rows) != len(self.names):
            return f"there are {len(self.names)} names and the rows of {len(self.rows)} classes"
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            return f"{len(twice)} names are of two classes, such as {twice[0]!r}"
        return None

    def _fault_of_rows(self) -> str | None:
        for name, rows in zip(self.names, self.rows, strict=True):
            if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
                return f"the class {name!r} has the rows {rows!r}, not integers (n,)"
        all_rows = np.concatenate(self.rows)
        if all_rows.min() < 0 or all_rows.max() >= len(self.images):
            return f"rows reach from {all_rows.min()} to {all_rows.max()}, but there are {len(self.images)} images"
        if (uses := np.bincount(all_rows)).max() > 1:
            return f"row {uses.argmax()} is there {uses.max()} times"
        return None

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

    @property
    def is_uniform(self) -> bool:
        """Whether all images are the same, so that nothing tells the classes apart."""
        return all(torch.equal(image, self.images[0]) for image in self.images)

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
        """A bank of equally large classes, from images (classes, images of a class, C, H, W) uint8."""
        if images.ndim != 5:
            raise ValueError(f"images are {images.shape}, not (classes, images of a class, C, H, W)")
        num_classes, per_class = images.shape[:2]
        rows = np.arange(num_classes * per_class).reshape(num_classes, per_class)
        flat = images.reshape(num_classes * per_class, *images.shape[2:])
        return ClassBank(torch.from_numpy(flat), tuple(rows), tuple(names))


def class_names(bank: object) -> list[str]:
    """The names of a bank's classes; none of what is no bank, such as a family of functions."""
    return list(bank.names) if isinstance(bank, ClassBank) else []


def tell_shared_classes(trained: Iterable[str], tested: Sequence[str]) -> int:
    """Warn of classes that are tested on after they were trained on, and count them.

    They are known by their names, whatever data set they are of.
    """
    if shared := sorted(set(trained) & set(tested)):
        message = "%d of the %d classes of meta-test have names of classes that were trained on: %s"
        log.warning(message, len(shared), len(tested), ", ".join(shared[:3]) + " ..." * (len(shared) > 3))
    return len(shared)


def content_sha256(names: Iterable[str], rows: Iterable[np.ndarray], pixels: Iterable[bytes | memoryview]) -> str:
    """The hash of a bank of these classes, whose pixels come in pieces, in the order of the rows."""
    digest = hashlib.sha256()
    for name, of_class in zip(names, rows, strict=True):
        digest.update(f"{name}:{of_class.tolist()};".encode())
    for piece in pixels:
        digest.update(piece)
    return digest.hexdigest()
