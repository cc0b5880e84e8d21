"""The common form of all data sets: one tensor of images or texts, and the rows of each class."""

import hashlib
import mmap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassBank:
    """Images of one split as bytes, in memory or mapped from a file, or its texts.

    Episodes are rows of it. A text is the ids of its tokens, followed by 0.

    Args:
        images: images (M, C, H, W), uint8, or texts (M, L), int32. Nobody may write into mapped
            images.
        rows: rows of each class in `images`, int64.
        names: names of the classes.
        mapping: memory map that holds the images, if any.
        known_sha256: hash of this content from when its file was written; saves reading it again.
        texts: the M texts as written, if the rows are texts; a run shows those of its test.
        vocabulary: hash of what gives the tokens of texts their ids.
        columns: names of the columns, if the rows are those of a table.

    Raises ValueError that names the fault and the expected form.

    Examples:
        >>> images = np.zeros((10, 20, 1, 28, 28), dtype=np.uint8)  # 10 classes of 20 images
        >>> bank = ClassBank.from_classes(images, [f"class {number}" for number in range(10)])
        >>> bank.images.shape, bank.num_classes, bank.smallest_class
        (torch.Size([200, 1, 28, 28]), 10, 20)
    """

    images: Tensor  # (M, C, H, W) uint8, or texts (M, L) int32
    rows: tuple[np.ndarray, ...]  # (n,) int64 for each class
    names: tuple[str, ...]
    mapping: mmap.mmap | None = None
    known_sha256: str | None = None
    texts: tuple[str, ...] = ()
    vocabulary: str | None = None
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if fault := self._fault_of_images() or self._fault_of_names() or self._fault_of_rows():
            raise ValueError(
                f"{fault}; a ClassBank has images (M, C, H, W) uint8, or texts (M, L) int32, and, for each class, "
                "its name and the rows of its images, each in one class"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "mapping": None}  # a copy, or another process, holds the images themselves

    def _fault_of_images(self) -> str | None:
        kinds = (torch.uint8, 4), (torch.int32, 2)
        if not isinstance(self.images, Tensor) or (self.images.dtype, self.images.ndim) not in kinds:
            kind = getattr(self.images, "dtype", type(self.images).__name__)
            return f"images are {kind} {tuple(getattr(self.images, 'shape', ()))}"
        if self.texts and len(self.texts) != len(self.images):
            return f"{len(self.texts)} texts do not match {len(self.images)} rows"
        return None

    def _fault_of_names(self) -> str | None:
        if not self.names or len(self.rows) != len(self.names):
            return f"{len(self.names)} names do not match the rows of {len(self.rows)} classes"
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            return f"{len(twice)} names are of two classes, such as {twice[0]!r}"
        return None

    def _fault_of_rows(self) -> str | None:
        for name, rows in zip(self.names, self.rows, strict=True):
            # Rows of another type are no index for torch, or have another hash.
            if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype != np.int64 or not len(rows):
                return f"the class {name!r} has the rows {rows!r}, not int64 (n,)"
        all_rows = np.concatenate(self.rows)
        if all_rows.min() < 0 or all_rows.max() >= len(self.images):
            return f"rows reach from {all_rows.min()} to {all_rows.max()}, but there are {len(self.images)} images"
        if (uses := np.bincount(all_rows)).max() > 1:
            return f"row {uses.argmax()} is listed {uses.max()} times"
        return None

    @property
    def num_classes(self) -> int:
        return len(self.rows)

    @property
    def is_text(self) -> bool:
        return self.images.dtype == torch.int32

    @property
    def kind(self) -> str:
        """The word for what it holds."""
        return "texts" if self.is_text else "images"

    @cached_property
    def smallest_class(self) -> int:
        """The number of images of the smallest class."""
        return min(len(rows) for rows in self.rows)

    @property
    def name_of_smallest(self) -> str:
        """The name of the smallest class; the first name among equals."""
        return next(name for name, rows in zip(self.names, self.rows, strict=True) if len(rows) == self.smallest_class)

    @property
    def is_uniform(self) -> bool:
        """Whether all images are equal, so that nothing distinguishes the classes."""
        return all(torch.equal(image, self.images[0]) for image in self.images)

    def release_pages(self) -> None:
        """Releases the pages read from a mapped file; the kernel caches them for a fast return.

        Otherwise each process would grow by the whole file during training.
        """
        if self.mapping is not None:
            self.mapping.madvise(mmap.MADV_DONTNEED)

    def sha256(self) -> str:
        """Hashes the classes and every pixel or token: equal hashes mean equal data."""
        return self.known_sha256 or content_sha256(self.names, self.rows, [self.images.contiguous().numpy().data])

    @staticmethod
    def from_classes(images: np.ndarray, names: list[str]) -> "ClassBank":
        """Builds a bank of equally large classes from uint8 images.

        The images are (classes, images of a class, C, H, W).
        """
        form = "(classes, images of a class, C, H, W)"
        if not isinstance(images, np.ndarray):
            raise ValueError(f"images are a {type(images).__name__}: give a numpy array {form}")
        if images.ndim != 5:
            raise ValueError(f"images are {images.shape}, not {form}")
        num_classes, per_class = images.shape[:2]
        flat = images.reshape(num_classes * per_class, *images.shape[2:])
        return ClassBank(torch.from_numpy(flat), consecutive_rows([per_class] * num_classes), tuple(names))


def consecutive_rows(sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Returns the rows of classes of these sizes that follow each other.

    >>> consecutive_rows([2, 1])
    (array([0, 1]), array([2]))
    """
    return tuple(np.arange(end - size, end) for size, end in zip(sizes, np.cumsum(sizes), strict=True))


def class_names(bank: object) -> list[str]:
    """Returns the class names of a bank, and no names for a family of functions."""
    return list(bank.names) if isinstance(bank, ClassBank) else []


def vocabulary(bank: object) -> str | None:
    """Returns the hash of what gives the tokens of a bank's texts their ids.

    None: the bank has no texts.
    """
    return bank.vocabulary if isinstance(bank, ClassBank) else None


def columns(bank: object) -> list[str]:
    """Returns the names of the columns of a bank of a table, and no names for other data."""
    return list(bank.columns) if isinstance(bank, ClassBank) else []


def content_sha256(names: Iterable[str], rows: Iterable[np.ndarray], pixels: Iterable[bytes | memoryview]) -> str:
    """Hashes a bank from its classes and its pixels, in pieces and in the order of the rows."""
    digest = hashlib.sha256()
    for name, of_class in zip(names, rows, strict=True):
        digest.update(f"{name}:{of_class.tolist()};".encode())
    for piece in pixels:
        digest.update(piece)
    return digest.hexdigest()
