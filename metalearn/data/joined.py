"""Splits joined to one bank."""

from collections import Counter
from collections.abc import Iterable

import torch

from metalearn.data.bank import ClassBank


def joined(banks: Iterable[ClassBank]) -> ClassBank:
    """Joins banks of the same inputs to one of all their classes, in memory.

    Raises ValueError if two of them have a class of the same name.

    Examples:
        >>> import numpy as np
        >>> one, two = (
        ...     ClassBank.from_classes(np.zeros((1, 9, 1, 8, 8), np.uint8), [name]) for name in "ab"
        ... )
        >>> joined([one, two]).names
        ('a', 'b')
    """
    banks = list(banks)
    names = [name for bank in banks for name in bank.names]
    ((name, count),) = Counter(names).most_common(1)
    if count > 1:
        raise ValueError(
            f"these splits share classes, such as {name!r}, so they cannot be joined: "
            "leave out train_split=train_val and evaluation=crossval"
        )
    starts = [sum(len(bank.images) for bank in banks[:i]) for i in range(len(banks))]
    return ClassBank(
        torch.cat([bank.images for bank in banks]),
        tuple(rows + start for bank, start in zip(banks, starts, strict=True) for rows in bank.rows),
        tuple(names),
        texts=tuple(text for bank in banks for text in bank.texts),
        vocabulary=banks[0].vocabulary,
        columns=banks[0].columns,
    )
