"""Renders a report as one HTML page without scripts and network, for desktop, phone and print."""

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from metalearn.html import environment
from metalearn.report.comparing.comparison import Comparison
from metalearn.report.comparing.contents import Contents
from metalearn.report.comparing.paired import MOST_IN_FULL, leaders
from metalearn.report.plots import curves, further_plots, pareto, plots, search_plots, trade_offs
from metalearn.report.plots.pictures import pictures
from metalearn.report.reading.runs import Run
from metalearn.report.sheet import Text
from metalearn.report.tables import costs, difference_tables, further, search_tables, tables

T = TypeVar("T")


def page(contents: Contents) -> str:
    """Returns the text of the page."""
    comparison = contents.comparison
    templates = environment("metalearn.report")
    templates.filters["worded"] = Text
    templates.globals |= {
        "matrix": difference_tables.matrix,
        "of_search": search_tables,
        "plot_of_search": search_plots,
        "front_of_search": pareto,
    }
    by_steps, by_seconds = curves.validation_curves(comparison)
    return templates.get_template("page.html").render(
        comparison=comparison,
        heading=contents.heading,
        costs=costs.sheet(comparison),
        scatters=[scatter for column in comparison.columns for scatter in trade_offs.scatters(column, comparison)],
        histograms=_known(trade_offs.histograms(column, comparison) for column in comparison.columns),
        pictures=pictures(comparison),
        runs=contents.runs,
        statuses=Counter({run.folder: run.status for run in _runs(comparison)}.values()),
        made_with=_made_with(comparison),
        settings=tables.settings(comparison, leaders(contents.groups)),
        dot_plots=_known(plots.results(column, comparison) for column in comparison.columns),
        groups=contents.groups,
        most_in_full=MOST_IN_FULL,
        difference_notes=difference_tables.NOTES,
        by_steps=by_steps,
        by_seconds=by_seconds,
        inner_steps=_known(curves.inner_steps(column, comparison) for column in comparison.columns),
        details=tables.details(comparison),
        further=further.sheets(comparison),
        further_curves=further_plots.curves(comparison),
        searches=contents.searches,
        left_out=tables.left_out(contents),
    )


def _known(things: Iterable[T | None]) -> list[T]:
    return [thing for thing in things if thing is not None]


def _runs(comparison: Comparison) -> list[Run]:
    return [*comparison.shown, *comparison.apart]


def _made_with(comparison: Comparison) -> list[str]:
    """Returns the versions of metalearn and torch and the revisions of the runs."""
    made = []
    for name in ("metalearn", "torch"):
        found = {(run.result.versions or {}).get(name) for run in _runs(comparison)}
        made.append(f"{name} {', '.join(sorted(filter(None, found)))}" if any(found) else "")
    revisions = {run.result.git for run in _runs(comparison)}
    made.append(f"revision {', '.join(sorted(filter(None, revisions)))}" if any(revisions) else "")
    return [text for text in made if text]
