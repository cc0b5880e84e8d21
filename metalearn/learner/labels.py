"""Labels of any kind: texts and numbers as numpy has them, all others as objects."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

KINDS = {"U": (str, np.str_), "b": (bool, np.bool_), "iu": (int, np.integer), "f": (float, np.floating)}
"""Types that an array keeps, if all labels are of one kind; keys are the kinds of its dtype."""


def listed(labels: Iterable[Hashable], num_images: int) -> list[Hashable]:
    """Returns the label of each image; tensors become plain numbers.

    Raises ValueError for another number of labels, missing labels, labels that are rows, and what
    Python iterates over in another sense: the letters of a word, keys, or members in any order.
    """
    if isinstance(labels, str | bytes | Mapping | set | frozenset):
        raise ValueError(f"labels are a {type(labels).__name__}; give a list, with one for each image in their order")
    shape = tuple(getattr(labels, "shape", (num_images,)))
    if len(shape) != 1:
        raise ValueError(f"labels have the shape {shape}; give one for each image, (n,)")
    found = [plain(label, f"the label of image {row}") for row, label in enumerate(labels)]
    if len(found) != num_images:
        raise ValueError(f"there are {num_images} images and {len(found)} labels; each image needs one")
    return found


def plain(label: Hashable, name: str = "the label") -> Hashable:
    """Returns the number in a tensor (), whose hash is that of the object; other labels unchanged.

    Raises ValueError for a tensor or an array of another shape, and for a missing label.
    """
    if isinstance(label, np.ndarray | Tensor):
        if label.ndim:
            raise ValueError(f"a label has the shape {tuple(label.shape)}; give one for each image, (n,)")
        label = label.item()
    if not isinstance(label, Hashable):
        raise ValueError(f"{name} is a {type(label).__name__}: give one word or number")
    if _is_missing(label):
        raise ValueError(f"{name} is missing ({label}): give one, or leave the image out")
    return label


def _is_missing(label: Hashable) -> bool:
    """Whether a label is NaN, NaT or the NA of pandas: it does not equal itself."""
    try:
        return bool(label != label)  # noqa: PLR0124
    except TypeError:  # NA is neither equal nor unequal
        return True


def vector(labels: Iterable[Hashable]) -> np.ndarray:
    """Returns the labels as an array (n,), of objects where another would change them."""
    listed = list(labels)
    for kind, types in KINDS.items():
        if listed and all(isinstance(label, types) for label in listed):
            array = np.array(listed)
            if array.dtype.kind in kind and array.tolist() == listed:
                return array
    found = np.empty(len(listed), dtype=object)
    for row, label in enumerate(listed):  # one by one, because numpy would unpack tuples
        found[row] = label
    return found


def distinct(labels: Sequence[Hashable]) -> list[Hashable]:
    """Returns the classes, sorted where possible, else in the order of the labels."""
    once = list(dict.fromkeys(labels))
    try:
        return sorted(once)  # type: ignore[type-var]
    except TypeError:
        return once


def saved(label: Hashable) -> Any:
    """Returns the label as a file stores it.

    Raises ValueError if reading it back would need to run code.
    """
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, tuple):
        return tuple(map(saved, label))
    if label is None or type(label) in (str, bool, int, float, bytes):  # an Enum may be a str or an int
        return label
    raise ValueError(f"the label {label!r:.60} is a {type(label).__name__}: texts, numbers and tuples can be saved")
