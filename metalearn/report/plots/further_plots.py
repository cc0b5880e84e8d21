"""Plots of evaluations beside the accuracy, such as the ROC curve of open_set."""

from metalearn.report.comparing.comparison import Comparison
from metalearn.report.comparing.protocol import Column
from metalearn.report.plots.curves import LinePlot, Series, lines
from metalearn.report.reading.scores import Score
from metalearn.report.tables.further import scored


def curves(comparison: Comparison) -> list[LinePlot]:
    """Returns the plot of each evaluation, data set and test setting."""
    found: dict[tuple[str, Column, str, str], Series] = {}
    for cell in comparison.cells:
        for measured in cell.further.values():
            for further in scored(measured):
                curve = further.curve
                place = further.name, cell.column, curve.x_name, curve.y_name
                points = dict(enumerate(zip(curve.x, curve.y, strict=True)))
                found.setdefault(place, {}).setdefault(comparison.label(cell), []).append(points)
    plots = (
        lines(f"{name} on {column}", Score(y_name, f"{y_name} %", 100, 2, 1, 1.0), x_name, series)
        for (name, column, x_name, y_name), series in found.items()
    )
    return [plot for plot in plots if plot]
