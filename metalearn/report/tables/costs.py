"""The table of selection and cost: what was chosen on meta-val, how sure it is, and its time."""

from collections.abc import Callable

from metalearn.report.comparing.cells import Cell, mean, number
from metalearn.report.comparing.comparison import Comparison
from metalearn.report.reading.runs import Run
from metalearn.report.sheet import Sheet, Text
from metalearn.report.tables.run_fields import FIELDS

NOTE = Text(
    "means over the runs; adapt and predict: seconds of one episode, their median over the test episodes; a method "
    "that does not adapt embeds each image once, which its predict leaves out"
)

VALUE: dict[str, Callable[[Run], float | None]] = dict(FIELDS)


def sheet(comparison: Comparison) -> Sheet:
    """Returns a row for each cell with a result; columns without any number are left out."""
    columns: dict[str, Callable[[Cell], str]] = {
        "meta-val": lambda cell: cell.score.text(_mean(cell, "val")),
        "best step": lambda cell: _text(cell, "best_step", ",.0f"),
        "calibration error %": lambda cell: _text(cell, "calibration_error", ".2f", factor=100),
        "training s": lambda cell: _text(cell, "seconds_fit", ",.0f"),
        "adapt s": lambda cell: _text(cell, "seconds_adapt", ".2g"),
        "predict s": lambda cell: _text(cell, "seconds_predict", ".2g"),
    }
    cells = [cell for cell in comparison.cells if cell.completed]
    texts = {name: [text(cell) for cell in cells] for name, text in columns.items()}
    filled = [name for name, column in texts.items() if set(column) - {"-"}]
    rows = [
        [comparison.label(cell), Text(str(cell.column)), *(Text(texts[name][i]) for name in filled)]
        for i, cell in enumerate(cells)
    ]
    return Sheet("Selection and cost", ["algorithm", "on", *filled], 2, rows if filled else [], [NOTE])


def _mean(cell: Cell, name: str) -> float:
    return mean(VALUE[name](run) for run in cell.completed)


def _text(cell: Cell, name: str, form: str, *, factor: int = 1) -> str:
    return number(factor * _mean(cell, name), form)
