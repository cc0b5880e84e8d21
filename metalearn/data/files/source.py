"""The interface of a data set, and its errors."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from metalearn.data.bank import ClassBank
from metalearn.data.files.preparation import Preparation
from metalearn.types import Split

LARGEST_INPUT = 1 << 24  # limit of numbers in an image: 2,364 x 2,364 in colour


class Source(Protocol):
    """Data set with a fixed input shape and one bank for each split."""

    input_shape: tuple[int, int, int]  # C, H, W
    preparation: Preparation  # for new images; `load` may complete it from the files

    def load(self) -> Mapping[Split, ClassBank]:
        """Returns the banks of meta-train, meta-val and meta-test; no class is in two of them.

        A data set for testing alone returns meta-test alone. Raises ValueError or OSError in one
        line: what is missing, and where to put it.
        """
        ...


@contextmanager
def named(source: str) -> Iterator[None]:
    """Prefixes any ValueError or OSError in the context with the name of its source.

    Errors of encoding and of JSON have other arguments, so the kind of the error is not kept.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{source}: {error}") from error


def image_shape(source: str, asked: Sequence[int], channels: Sequence[int]) -> tuple[int, int, int]:
    """Checks and returns an `input_shape` [C, H, W]; C must be one of `channels`.

    Raises ValueError otherwise.
    """
    if len(asked) != 3 or min(asked) < 1:
        raise ValueError(f"{source}: input_shape is {list(asked)}; it must be [channels, height, width]")
    if asked[0] not in channels:
        possible = " or ".join(f"{count} channel{'s' if count > 1 else ''}" for count in channels)
        raise ValueError(f"{source}: images have {possible}, but input_shape asks for {asked[0]}")
    if math.prod(asked) > LARGEST_INPUT:
        raise ValueError(f"{source}: input_shape is {list(asked)}, more than {LARGEST_INPUT:,} numbers an image")
    return asked[0], asked[1], asked[2]


def check_memory(size: int) -> None:
    """Raises ValueError if a data set of `size` bytes exceeds the memory."""
    if size > (memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise ValueError(f"the data set takes {size / 1e9:,.1f} GB, but the memory has {memory / 1e9:,.1f} GB")
