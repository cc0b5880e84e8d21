"""The one form that every data set takes: a tensor of images and, for each class, the rows that are its own."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from metalearn.types import Split


@dataclass(frozen=True)
class ClassBank:
    """The images of one split, in memory as bytes; episodes are rows of it."""

    images: Tensor  # (M, C, H, W) uint8
    rows: tuple[np.ndarray, ...]  # for each class, the rows of its images, int64
    names: tuple[str, ...]  # of the classes

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8
        assert self.images.ndim == 4
        assert len(self.rows) == len(self.names) == len(set(self.names))

    @property
    def num_classes(self) -> int:
        return len(self.rows)

    @property
    def smallest_class(self) -> int:
        """Number of images of the class that has fewest."""
        return min(len(rows) for rows in self.rows)

    def sha256(self) -> str:
        """Hash of the classes and of every pixel: two banks of the same hash hold the same data."""
        digest = hashlib.sha256()
        for name, rows in zip(self.names, self.rows, strict=True):
            digest.update(f"{name}:{rows.tolist()};".encode())
        digest.update(self.images.contiguous().numpy().data)
        return digest.hexdigest()

    @staticmethod
    def from_classes(images: np.ndarray, names: list[str]) -> "ClassBank":
        """A bank of equally large classes, from images (classes, images of a class, C, H, W)."""
        num_classes, per_class = images.shape[:2]
        rows = np.arange(num_classes * per_class).reshape(num_classes, per_class)
        flat = images.reshape(num_classes * per_class, *images.shape[2:])
        return ClassBank(torch.from_numpy(flat), tuple(rows), tuple(names))


class Source(Protocol):
    """A data set: it knows the shape of its inputs, and makes one bank for each split."""

    input_shape: tuple[int, int, int]  # C, H, W

    def load(self) -> dict[Split, ClassBank]:
        """The banks of meta-train, meta-val and meta-test; no class is in two of them.

        Raises ValueError or OSError with one line that says what is missing and where to put it.
        """
        ...
