"""Cross-validation: all classes of a data set in folds, each of which is meta-test once."""

from collections.abc import Mapping

import numpy as np
import torch

from metalearn.data.bank import ClassBank, vocabulary
from metalearn.types import Split


def fold_of(banks: Mapping[Split, ClassBank], *, folds: int, fold: int, seed: int) -> dict[Split, ClassBank]:
    """Returns the splits of fold 0 .. folds - 1: that fold is meta-test, the next one meta-val.

    The other folds are meta-train. The classes of all splits are dealt to the folds in an order
    drawn from the seed. Raises ValueError, in one line, for impossible folds.
    """
    images, rows, names = _together(banks)
    texts, first = tuple(text for bank in banks.values() for text in bank.texts), next(iter(banks.values()))
    if not 3 <= folds <= len(names):
        raise ValueError(f"evaluation.folds={folds} must be 3 to {len(names)}, the number of classes")
    if not 0 <= fold < folds:
        raise ValueError(f"evaluation.fold={fold} must be 0 to {folds - 1}")
    dealt = np.empty(len(names), dtype=int)
    dealt[np.random.default_rng([seed, folds]).permutation(len(names))] = np.arange(len(names)) % folds
    test, val = dealt == fold, dealt == (fold + 1) % folds
    chosen: dict[Split, np.ndarray] = {"train": ~(test | val), "val": val, "test": test}

    def bank(classes: np.ndarray) -> ClassBank:
        places = np.flatnonzero(classes)
        of_classes = tuple(rows[i] for i in places), tuple(names[i] for i in places)
        return ClassBank(images, *of_classes, texts=texts, vocabulary=vocabulary(first))

    return {split: bank(classes) for split, classes in chosen.items()}


def _together(banks: Mapping[Split, ClassBank]) -> tuple[torch.Tensor, list[np.ndarray], list[str]]:
    """Joins the images of all splits; returns them, the rows of each class, and the class names."""
    rows: list[np.ndarray] = []
    before = 0
    for bank in banks.values():
        rows += [of_class + before for of_class in bank.rows]
        before += len(bank.images)
    names = [name for bank in banks.values() for name in bank.names]
    return torch.cat([bank.images for bank in banks.values()]), rows, names
