"""Items that are in two splits: training must not see those of the test."""

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from metalearn.types import Split

Item = TypeVar("Item", bound=Hashable)
Place = TypeVar("Place")


def in_two_splits(places: Mapping[Split, Iterable[tuple[Item, Place]]]) -> dict[Item, dict[Split, Place]]:
    """Finds the items of more than one split, each with its first place in every split that has it.

    >>> in_two_splits({"train": [("cat", 1), ("dog", 2), ("cat", 3)], "test": [("cat", 4)]})
    {'cat': {'train': 1, 'test': 4}}
    """
    found: dict[Item, dict[Split, Place]] = {}
    for split, of_split in places.items():
        for item, place in of_split:
            found.setdefault(item, {}).setdefault(split, place)
    return {item: by_split for item, by_split in found.items() if len(by_split) > 1}
