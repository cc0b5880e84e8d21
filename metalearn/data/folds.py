"""Cross-validation: all classes of a data set in folds, each of which is meta-test once."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from metalearn.data.bank import ClassBank
from metalearn.data.joined import joined
from metalearn.data.rotations import drawn_class
from metalearn.types import Split


def fold_of(banks: Mapping[Split, ClassBank], *, folds: int, fold: int, seed: int) -> dict[Split, ClassBank]:
    """Returns the splits of fold 0 .. folds - 1: that fold is meta-test, the next one meta-val.

    The other folds are meta-train. The classes of all splits are dealt to the folds in an order
    drawn from the seed, and the rotations of a class stay in one fold. Raises ValueError, in one
    line, for impossible folds.
    """
    whole = joined(banks.values())
    drawn = {name: index for index, name in enumerate(dict.fromkeys(map(drawn_class, whole.names)))}
    if not 3 <= folds <= len(drawn):
        raise ValueError(f"evaluation.folds={folds} must be 3 to {len(drawn)}, the number of classes")
    if not 0 <= fold < folds:
        raise ValueError(f"evaluation.fold={fold} must be 0 to {folds - 1}")
    fold_of_drawn = np.empty(len(drawn), dtype=int)
    fold_of_drawn[np.random.default_rng([seed, folds]).permutation(len(drawn))] = np.arange(len(drawn)) % folds
    dealt = fold_of_drawn[[drawn[drawn_class(name)] for name in whole.names]]
    test, val = dealt == fold, dealt == (fold + 1) % folds
    chosen: dict[Split, np.ndarray] = {"train": ~(test | val), "val": val, "test": test}

    def bank(classes: np.ndarray) -> ClassBank:
        places = np.flatnonzero(classes)
        return replace(whole, rows=tuple(whole.rows[i] for i in places), names=tuple(whole.names[i] for i in places))

    return {split: bank(classes) for split, classes in chosen.items()}
