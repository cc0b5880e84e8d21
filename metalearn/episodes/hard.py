"""Hard training episodes: classes are drawn in proportion to their recent confusion.

Chenghao Liu, Zhihao Wang, Doyen Sahoo, Yuan Fang, Kun Zhang, Steven Hoi. Adaptive Task Sampling for
Meta-Learning. ECCV 2020, arXiv 2007.08735. The weight of a class decays towards 1 and grows with
the errors on its queries. The paper also weighs pairs of classes, which needs a square matrix.

C  classes of meta-train
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

DISCOUNT = 0.5
"""τ: exponent of the earlier weight; 0 keeps only the last episode of a class."""

STRENGTH = 1.0
"""α: factor of the error. With τ = 0.5, weights are between 1 and e²."""


class HardClasses:
    """Weights of the classes after each training batch.

    Lightning requests a batch before the last one is trained, so a batch is drawn by the errors of
    all batches but the last. A resumed training therefore draws what an uninterrupted one draws.

    Args:
        rows: rows of each class in the bank.

    Examples:
        >>> hard = HardClasses([np.arange(0, 4), np.arange(4, 8)])
        >>> hard.observe(torch.tensor([[5, 0], [5, 5]]), episodes=1)  # all wrong, all right
        >>> hard.weights.round(2).tolist()  # e and 1
        [2.72, 1.0]
    """

    def __init__(self, rows: Sequence[np.ndarray]) -> None:
        num_classes = len(rows)
        self._class_of = torch.zeros(1 + max(int(of_class.max()) for of_class in rows), dtype=torch.int64)
        for index, of_class in enumerate(rows):
            self._class_of[torch.from_numpy(of_class)] = index
        self.trained = 0  # episodes that the weights have seen
        self.weights = self.earlier = np.ones(num_classes)  # (C,) after all batches, and all but the last

    def probabilities(self, first: int) -> np.ndarray:
        """Returns the probabilities (C,) of the classes in the batch with this first episode."""
        weights = self.weights if first > self.trained else self.earlier
        return weights / weights.sum()

    def count(self, rows: Tensor, wrong: Tensor) -> Tensor:
        """Counts the wrong answers and all answers of each class: two of (T, Q) -> (2, C)."""
        self._class_of = self._class_of.to(rows.device)
        classes, num_classes = self._class_of[rows], len(self.weights)
        counts = [part.flatten().bincount(minlength=num_classes) for part in (classes[wrong], classes)]
        return torch.stack(counts)

    def observe(self, counts: Tensor, episodes: int) -> None:
        """Updates the weights by the counts (2, C) of a batch of so many episodes."""
        wrong, answers = counts.cpu().numpy()
        updated = self.weights**DISCOUNT * np.exp(STRENGTH * wrong / np.maximum(answers, 1))
        self.earlier, self.weights = self.weights, np.where(answers > 0, updated, self.weights)
        self.trained += episodes

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights.tolist(), "earlier": self.earlier.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights, self.earlier = np.array(state["weights"]), np.array(state["earlier"])
