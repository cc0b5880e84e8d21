"""Paired differences of two methods on the same test episodes, episode by episode."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

import numpy as np

from metalearn.report.comparing.cells import Cell
from metalearn.report.comparing.comparison import Comparison
from metalearn.report.comparing.protocol import Column
from metalearn.stats import student_t, two_sided_p

MOST_IN_FULL = 40
"""Largest group of methods with all pairs; larger ones have only the pairs with the best."""


class Difference(NamedTuple):
    """Score of `first` minus score of `second`."""

    first: Cell
    second: Cell
    mean: float  # mean over the episodes of the difference between the means over the seeds
    ci95: float  # half of the 95 % interval over the episodes, for this pair alone
    p: float  # two-sided, after Holm's correction for all pairs of the column

    @property
    def real(self) -> bool:
        return self.p < 0.05

    @property
    def better(self) -> bool:
        return self.mean * self.first.score.sign > 0


@dataclass(frozen=True)
class Pairs:
    """All pairs of k cells of a column that were tested on the same episodes."""

    column: Column
    cells: list[Cell]  # the best first
    mean: np.ndarray  # (k, k): row minus column
    ci95: np.ndarray  # (k, k)
    p: np.ndarray  # (k, k), after Holm's correction

    def between(self, i: int, j: int) -> Difference:
        return Difference(
            self.cells[i], self.cells[j], *(float(matrix[i, j]) for matrix in (self.mean, self.ci95, self.p))
        )

    def with_best(self) -> Iterator[Difference]:
        """Yields each other cell minus the best."""
        return (self.between(i, 0) for i in range(1, len(self.cells)))

    def all(self) -> Iterator[Difference]:
        """Yields every pair once; in a group above MOST_IN_FULL, the pairs with the best."""
        if len(self.cells) > MOST_IN_FULL:
            return self.with_best()
        return (self.between(j, i) for i in range(len(self.cells)) for j in range(i + 1, len(self.cells)))


def leaders(groups: Iterable[Pairs]) -> list[Cell]:
    """Returns the best cell of each column, and those whose difference from it is not shown.

    Where a column has several groups of test episodes, the group with most cells counts.
    """
    largest: dict[Column, Pairs] = {}
    for group in groups:
        earlier = largest.get(group.column)
        if earlier is None or len(group.cells) > len(earlier.cells):
            largest[group.column] = group
    equal = [difference.first for group in largest.values() for difference in group.with_best() if not difference.real]
    return [*(group.cells[0] for group in largest.values()), *equal]


def pairs(comparison: Comparison) -> list[Pairs]:
    """Returns the pairs of each group of cells of a column that share their test episodes."""
    groups: dict[tuple[Column, frozenset[tuple[str, Fraction]], int], list[tuple[Cell, np.ndarray]]] = {}
    for cell in comparison.cells:
        episodes, scores = frozenset(cell.episodes.items()), cell.episode_scores()
        if episodes and scores is not None:
            groups.setdefault((cell.column, episodes, len(scores)), []).append((cell, scores))
    found = [
        _pairs(column, [cell for cell, _ in group], np.stack([scores for _, scores in group]))
        for (column, _, episodes), group in groups.items()
        if len(group) > 1 and episodes > 1
    ]  # sorted by column, as the cells are
    return [group for _, of_column in groupby(found, lambda group: group.column) for group in _corrected([*of_column])]


def _pairs(column: Column, cells: list[Cell], scores: np.ndarray) -> Pairs:
    """Compares scores (k, E) without a correction of p.

    The variance of a difference follows from the covariances.
    """
    means, covariance = scores.mean(1), np.cov(scores)
    mean = means[:, None] - means[None, :]
    both = np.diag(covariance)[:, None] + np.diag(covariance)[None, :]
    variance = both - 2 * covariance
    variance[variance <= 1e-12 * both] = 0.0  # rounding error; one query with another answer gives far more
    rounding = 1e-12 * np.abs(scores).max()
    error = np.sqrt(variance / scores.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.abs(mean) <= rounding, 0.0, np.abs(mean) / error)
    degrees = scores.shape[1] - 1
    return Pairs(column, cells, mean, student_t(degrees) * error, two_sided_p(t, degrees))


def _corrected(groups: list[Pairs]) -> list[Pairs]:
    """Corrects p for all pairs of a column, whatever their test episodes."""
    above = [np.triu_indices(len(group.cells), 1) for group in groups]
    p = [group.p[pairs] for group, pairs in zip(groups, above, strict=True)]
    parts = np.split(holm(np.concatenate(p)), np.cumsum([len(part) for part in p])[:-1])
    corrected = []
    for group, pairs, part in zip(groups, above, parts, strict=True):
        matrix = np.ones_like(group.p)
        matrix[pairs] = part
        corrected.append(replace(group, p=np.minimum(matrix, matrix.T)))
    return corrected


def holm(p: np.ndarray) -> np.ndarray:
    """Corrects p-values for their number, (P,) -> (P,), by Holm 1979.

    At a threshold of 5 %, the chance of any false difference is at most 5 %.
    """
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
