"""What a data set is to the rest of the package, and how it says what is wrong with its files."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from metalearn.data.bank import ClassBank
from metalearn.types import Split


class Source(Protocol):
    """A data set: it knows the shape of its inputs, and makes one bank for each split."""

    input_shape: tuple[int, int, int]  # C, H, W

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
