"""Tables of the evaluations beside the accuracy, such as open_set."""

from metalearn.report.comparing.cells import over_runs
from metalearn.report.comparing.comparison import Comparison
from metalearn.report.reading.scores import ACCURACY
from metalearn.report.sheet import Sheet, Text
from metalearn.run.directory.result import Further


def sheets(comparison: Comparison) -> list[Sheet]:
    """Returns a table for each evaluation: its scores in percent, beside the accuracy."""
    return [_sheet(name, comparison) for name in sorted({name for cell in comparison.cells for name in cell.further})]


def _sheet(name: str, comparison: Comparison) -> Sheet:
    cells = [cell.further[name] for cell in comparison.cells if name in cell.further]
    scores = list(dict.fromkeys(score for cell in cells for further in cell.evaluations for score in further.scores))
    rows = [
        [
            comparison.label(cell),
            Text(str(cell.column)),
            Text(cell.score.text(cell.mean)),
            *(Text(_interval(cell.evaluations, score)) for score in scores),
        ]
        for cell in cells
    ]
    head = ["algorithm", "on", cells[0].score.title, *(f"{score.replace('_', ' ')} %" for score in scores)]
    note = Text("± is half of a 95 % interval: over the runs where there are several, else as the evaluation has it")
    return Sheet(f"Evaluation: {name}", head, 2, rows, [note])


def _interval(evaluations: list[Further], score: str) -> str:
    """Returns the mean over the runs that have the score, with its interval."""
    estimates = [further.scores[score] for further in evaluations if score in further.scores]
    return ACCURACY.interval(over_runs(estimates))  # a fraction too
