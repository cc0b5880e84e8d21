"""The scores of all episodes of an evaluation, gathered from all processes."""

import math

import numpy as np
import torch
from torch import Tensor
from torchmetrics import CatMetric

from metalearn.estimates import SIGNS


class ScoreTable:
    """Table with one row per episode: its index and its scores, numbers or curves of one length.

    It is no module, since moving a module to a device would make its metrics float32.
    """

    def __init__(self) -> None:
        # Each row concatenates the scores; float64 represents a large index exactly.
        self._rows = CatMetric(nan_strategy="disable").set_dtype(torch.float64)
        self._widths: dict[str, int] = {}

    def add(self, indices: Tensor, scores: dict[str, Tensor]) -> None:
        """Adds the scores of T episodes by their indices: (T,) for numbers, (T, K) for curves."""
        columns = {name: score.reshape(len(indices), -1).double() for name, score in scores.items()}
        self._widths = {name: column.shape[1] for name, column in columns.items()}
        values = torch.cat([*columns.values()], dim=1)
        self._rows.update(torch.cat([indices[:, None].to(values), values], dim=1))

    def collect(self) -> dict[str, np.ndarray]:
        """Returns each score of all E episodes in index order, and empties the table.

        Numbers are (E,), curves (E, K). All processes must call it, and all get the same result.
        """
        rows = self._rows.compute().cpu().numpy()  # (E, 1 + all widths)
        self._rows.reset()
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        columns = np.split(rows[:, 1:], np.cumsum(list(self._widths.values()))[:-1], axis=1)
        return {
            name: column if _is_curve(name) else column[:, 0]
            for name, column in zip(self._widths, columns, strict=True)
        }


CANDIDATES = "_by_candidate"


def _is_curve(name: str) -> bool:
    """Whether a score has many values in an episode, such as accuracy_by_step."""
    return "_by_" in name


def curves(scores: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Averages over the episodes the scores that are curves."""
    return {name: [mean_of_known(c) for c in values.T] for name, values in scores.items() if _is_curve(name)}


def mean_of_known(values: np.ndarray) -> float:
    """Averages the values that are not NaN; NaN if there are none."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else math.nan


def best_candidate(scores: dict[str, np.ndarray], score_name: str) -> tuple[int, dict[str, np.ndarray]]:
    """Returns the best candidate by mean score, and its scores: (E,), or (E, K) for curves."""
    means = SIGNS[score_name] * scores[score_name + CANDIDATES].mean(0)  # (candidates,)
    best = int(np.where(np.isnan(means), -np.inf, means).argmax())  # the largest for NumPy would be NaN
    of_best = {
        name: values.reshape(len(values), len(means), -1)[:, best] for name, values in scores.items()
    }  # (E, K) each
    return best, {
        name.removesuffix(CANDIDATES): values[:, 0] if values.shape[1] == 1 else values
        for name, values in of_best.items()
    }
