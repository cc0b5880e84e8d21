"""Items that are in two splits, or may be: training must not see those of the test."""

import logging
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from metalearn.data.files.names import some
from metalearn.data.rotations import upright
from metalearn.types import Split

log = logging.getLogger(__name__)

Item = TypeVar("Item", bound=Hashable)


def in_two_splits(items: Mapping[Split, Iterable[Item]]) -> dict[Item, list[Split]]:
    """Finds the items of more than one split, each with its splits.

    >>> in_two_splits({"train": ["cat", "dog", "cat"], "test": ["cat"]})
    {'cat': ['train', 'test']}
    """
    splits_of: dict[Item, list[Split]] = {}
    for split, of_split in items.items():
        for item in dict.fromkeys(of_split):
            splits_of.setdefault(item, []).append(split)
    return {item: splits for item, splits in splits_of.items() if len(splits) > 1}


def warn_of_capitals(source: str, names: Iterable[str]) -> None:
    """Warns of class names that differ only in capitals: they may be one class, in two splits."""
    spellings = defaultdict[str, list[str]](list)
    for name in names:
        spellings[name.lower()].append(name)
    if alike := [" and ".join(map(repr, spelled)) for spelled in spellings.values() if len(spelled) > 1]:
        message = "%s: %d classes have names that differ only in capitals, so each may be one class: %s"
        log.warning(message, source, len(alike), some(alike))


def may_be_learnt(copies: Sequence[Split]) -> bool:
    """Whether a query of a test may be learnt before, given the split of each of its copies.

    >>> [may_be_learnt([split, "test"]) for split in ("train", "test")]
    [True, True]
    >>> may_be_learnt(["train", "train"]), may_be_learnt(["test"])
    (False, False)
    """
    return len(copies) > 1 and {*copies} != {"train"}


def warn_of_shared_classes(trained: Iterable[str], tested: Sequence[str], split: str = "meta-test") -> int:
    """Warns of classes of a split that share the name of a training class, and counts them.

    Names count across data sets, and whether or not one of them has rotations.
    """
    if shared := sorted(set(map(upright, trained)) & set(map(upright, tested))):
        message = "%d of the %d %s classes have names of training classes: %s"
        log.warning(message, len(shared), len(tested), split, some(shared))
    return len(shared)
