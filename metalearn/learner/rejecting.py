"""The probability below which a learner answers None."""

from collections.abc import Hashable, Sequence
from numbers import Real


def probability(reject: float | None) -> float | None:
    """Returns it unchanged. Raises ValueError if it is no number from 0 to 1."""
    if not isinstance(reject, Real | None):
        raise ValueError(f"reject={reject!r:.40} is a {type(reject).__name__}: give a number, from 0 to 1")
    if not 0 <= (reject or 0) <= 1:
        raise ValueError(f"reject={reject:g} must be a probability, from 0 to 1")
    return reject


def check_classes(reject: float, classes: Sequence[Hashable]) -> None:
    """Raises ValueError for classes of which none could be rejected, or that contain None."""
    if len(classes) == 1:
        raise ValueError(f"reject={reject:g} compares classes, and there is one: give examples of others too")
    if None in classes:
        raise ValueError(f"reject={reject:g} answers None where no class is likely, so no class can be None")
