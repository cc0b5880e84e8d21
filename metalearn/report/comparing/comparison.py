"""Groups runs into the cells of a table; cells of different protocols get different marks."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase

from metalearn.report.comparing.cells import Cell, best_first
from metalearn.report.comparing.configs import Place, by_config, named_alike
from metalearn.report.comparing.protocol import (
    Column,
    Method,
    Protocol,
    column,
    episodes_hash,
    method,
    protocol,
    test_key,
)
from metalearn.report.reading.runs import Run
from metalearn.report.reading.scores import ACCURACY, MSE, Score, score
from metalearn.report.sheet import Text

DAGGER = "†"
"""Marks results on classes that the pretraining has seen."""


@dataclass(frozen=True)
class Line:
    """Cells of a method that share a line of the table: at most one for each column."""

    method: Method
    cells: dict[Column, Cell]


@dataclass(frozen=True)
class Comparison:
    """Runs in their cells, with the settings that all cells share."""

    cells: list[Cell]  # sorted by column, then the best first
    apart: list[Run]  # runs in no cell, because their test has no score

    @cached_property
    def shown(self) -> list[Run]:
        """Runs of all cells, also of those of further evaluations."""
        return [run for cell in self.cells for measured in (cell, *cell.further.values()) for run in measured.runs]

    @property
    def num_repeated(self) -> int:
        """Number of run directories that repeat the seed of another."""
        everywhere = {run.folder for cell in self.cells for run in cell.tests}
        return len(everywhere - {run.folder for run in self.shown})

    @cached_property
    def columns(self) -> list[Column]:
        return sorted({cell.column for cell in self.cells})

    @cached_property
    def marks(self) -> dict[Protocol, str]:
        """Mark of each protocol: a, b, ..., the most frequent first; empty for a single protocol.

        A † follows where the pretraining has seen test classes.
        """
        protocols = [protocol for protocol, _ in Counter(cell.protocol for cell in self.cells).most_common()]
        letters = [_letters(i) if len(protocols) > 1 else "" for i in range(len(protocols))]
        return {
            protocol: mark + (DAGGER if protocol.saw_test_classes else "")
            for protocol, mark in zip(protocols, letters, strict=True)
        }

    @cached_property
    def common_seeds(self) -> int | None:
        """Number of seeds that every cell completed; None where cells differ."""
        counts = {len(cell.completed) for cell in self.cells}
        return counts.pop() if len(counts) == 1 else None

    @property
    def repeats(self) -> str:
        """Difference between the runs of every cell; "run" where cells differ."""
        differences = {cell.repeats for cell in self.cells}
        return differences.pop() if len(differences) == 1 else "run"

    @cached_property
    def common_overrides(self) -> list[str]:
        """Overrides that all runs share."""
        everywhere = set.intersection(*(set(cell.method.overrides) for cell in self.cells)) if self.cells else set()
        return sorted(everywhere)

    def name(self, method: Method) -> str:
        """Returns the algorithm, with the backbone and overrides that set it apart."""
        own = [o for o in method.overrides if o not in self.common_overrides]
        backbone = [method.backbone] if len(self.backbones) > 1 else []
        return " ".join([method.algorithm, *backbone, *own])

    def label(self, cell: Cell) -> Text:
        """Returns the name of the method with the mark of the protocol."""
        return Text(self.name(cell.method), self.marks[cell.protocol])

    @cached_property
    def backbones(self) -> set[str]:
        return {cell.method.backbone for cell in self.cells}

    def in_column(self, column: Column) -> list[Cell]:
        """Returns the cells of a column: the best first, cells without a result last."""
        return [cell for cell in self.cells if cell.column == column]

    @cached_property
    def lines(self) -> list[Line]:
        """Lines of the table, one for each method.

        Protocols of a method share a line if they have no column in common.
        """
        grouped: dict[tuple[Method, Protocol], dict[Column, Cell]] = {}
        for cell in self.cells:
            grouped.setdefault((cell.method, cell.protocol), {})[cell.column] = cell
        lines: dict[Method, list[Line]] = {}
        for group, cells in grouped.items():
            method, _ = group
            lines_of_method = lines.setdefault(method, [])
            free = next((line for line in lines_of_method if line.cells.keys().isdisjoint(cells)), None)
            if free is None:
                lines_of_method.append(Line(method, dict(cells)))
            else:
                free.cells.update(cells)
        return sorted((line for lines_of_method in lines.values() for line in lines_of_method), key=self._rank)

    def _rank(self, line: Line) -> list[tuple[bool, float]]:
        return [best_first(line.cells.get(column)) for column in self.columns]


def compare(runs: Iterable[Run]) -> Comparison:
    """Groups runs by their column, method, protocol and config."""
    runs = list(runs)
    measured = _scores(runs)
    within = [run for run in runs if _has_place(run)]
    apart = [run for run in runs if not _has_place(run)]
    usual = _usual_episodes(within)
    placed = []
    for run in within:
        result = run.result
        untested = MSE if result.problem == "regression" else ACCURACY
        where = column(result, score(result) or measured.get(result.dataset, untested))
        placed.append((run, Place(where, method(result), protocol(result, usual.get(test_key(result))))))
    groups: dict[tuple[Column, Method, Protocol, bool], list[Run]] = {}
    for run, place in named_alike(placed):
        without_splits = run.result.class_split is None
        groups.setdefault((*place, without_splits), []).append(run)
    cells = [
        Cell(where, how._replace(overrides=how.overrides + own), under, part).naming_splits()
        for (where, how, under, _), tests in groups.items()
        for own, part in by_config(tests)
    ]
    cells.sort(key=lambda cell: (cell.column, best_first(cell), cell.method, cell.protocol))
    return Comparison(cells, apart)


def _has_place(run: Run) -> bool:
    return not run.completed or score(run.result) is not None


def _scores(runs: list[Run]) -> dict[str, Score]:
    """Returns the measure of each data set, for runs that were not tested."""
    return {run.result.dataset: measured for run in runs if (measured := score(run.result))}


def _usual_episodes(runs: list[Run]) -> dict[str, str]:
    """Returns the hash of the test episodes of most runs, for each test."""
    seen: dict[str, Counter[str]] = {}
    for run in runs:
        if (episodes := episodes_hash(run.result)) is not None:
            seen.setdefault(test_key(run.result), Counter())[episodes] += 1
    return {test: hashes.most_common(1)[0][0] for test, hashes in seen.items()}


def _letters(index: int) -> str:
    """Returns a, ..., z, aa, ab, ... for 0, 1, ..."""
    return (_letters(index // 26 - 1) if index >= 26 else "") + ascii_lowercase[index % 26]
