"""What a data set is to the rest of the package, and how it says what is wrong with its files."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from metalearn.data.bank import ClassBank
from metalearn.data.files.preparation import Preparation
from metalearn.types import Split

LARGEST_INPUT = 1 << 24  # numbers of an image: 2,364 x 2,364 in colour


class Source(Protocol):
    """A data set: it knows the shape of its inputs, and makes one bank for each split."""

    input_shape: tuple[int, int, int]  # C, H, W
    preparation: Preparation  # of new images; `load` may learn more of it from the files

    def load(self) -> dict[Split, ClassBank]:
        """The banks of meta-train, meta-val and meta-test; no class is in two of them.

        A data set for testing alone has meta-test alone.

        Raises ValueError or OSError with one line that says what is missing and where to put it.
        """
        ...


@contextmanager
def named(source: str) -> Iterator[None]:
    """Within it, the one line of a ValueError or OSError begins with the name of the data set."""
    try:
        yield
    except (OSError, ValueError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{source}: {error}") from error


def image_shape(source: str, asked: Sequence[int], channels: Sequence[int]) -> tuple[int, int, int]:
    """The `input_shape` of a data set whose images have one of these numbers of channels; ValueError for another."""
    if len(asked) != 3 or min(asked) < 1:
        raise ValueError(f"{source}: input_shape is {list(asked)}; it must be [channels, height, width]")
    if asked[0] not in channels:
        possible = " or ".join(f"{count} channel{'s' if count > 1 else ''}" for count in channels)
        raise ValueError(f"{source}: images have {possible}, but input_shape asks for {asked[0]}")
    if math.prod(asked) > LARGEST_INPUT:
        raise ValueError(f"{source}: input_shape is {list(asked)}, more than {LARGEST_INPUT:,} numbers an image")
    return asked[0], asked[1], asked[2]


def check_memory(source: str, size: int) -> None:
    """Raises ValueError when images that are held in memory are larger than it."""
    if size > (memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise ValueError(f"{source}: the images take {size / 1e9:,.1f} GB, but the memory has {memory / 1e9:,.1f} GB")
