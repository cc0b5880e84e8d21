"""Tables of the evaluations beside the accuracy, such as open_set."""

import math

from metalearn.report.cells import Cell, mean
from metalearn.report.comparison import Comparison
from metalearn.report.sheet import Sheet, Text
from metalearn.run.result import Further
from metalearn.stats import estimate


def sheets(comparison: Comparison) -> list[Sheet]:
    """Returns a table for each evaluation: its scores in percent, beside the accuracy."""
    return [_sheet(name, comparison) for name in _names(comparison)]


def _names(comparison: Comparison) -> list[str]:
    return sorted({further.name for cell in comparison.cells for further in scored(cell)})


def scored(cell: Cell) -> list[Further]:
    """Returns the further evaluations of the completed runs of a cell."""
    return [run.result.further for run in cell.completed if run.result.further is not None]


def _sheet(name: str, comparison: Comparison) -> Sheet:
    measured = [(cell, of) for cell in comparison.cells if (of := [one for one in scored(cell) if one.name == name])]
    scores = list(dict.fromkeys(score for _, of in measured for one in of for score in one.scores))
    rows = [
        [
            comparison.label(cell),
            Text(str(cell.column)),
            Text(cell.score.text(cell.mean)),
            *(Text(_interval(of, score)) for score in scores),
        ]
        for cell, of in measured
    ]
    head = ["algorithm", "on", measured[0][0].score.title, *(f"{score.replace('_', ' ')} %" for score in scores)]
    note = Text("± is half of a 95 % interval: over the runs where there are several, else as the evaluation has it")
    return Sheet(f"Evaluation: {name}", head, 2, rows, [note])


def _interval(of: list[Further], score: str) -> str:
    """Returns the mean over the runs that have the score, with its interval."""
    known = [one.scores[score] for one in of if score in one.scores]
    middle = mean(one.mean for one in known)
    half = estimate([one.mean for one in known]).ci95 if len(known) > 1 else known[0].ci95 if known else math.nan
    return f"{100 * middle:.2f}" + (f" ± {100 * half:.2f}" if math.isfinite(half) else "")
