"""Renders a report as one HTML page without scripts and network, for desktop, phone and print."""

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from metalearn.html import environment
from metalearn.report.comparing.contents import Contents
from metalearn.report.comparing.paired import MOST_IN_FULL, leaders
from metalearn.report.plots import curves, results, search_plots
from metalearn.report.plots.pictures import pictures
from metalearn.report.plots.plots import Chart, Rows
from metalearn.report.reading.searches import Search
from metalearn.report.sheet import Sheet, Text
from metalearn.report.tables import costs, difference_tables, further, search_tables, tables

T = TypeVar("T")


def page(contents: Contents) -> str:
    """Returns the text of the page."""
    comparison = contents.comparison
    templates = environment("metalearn.report")
    templates.filters["worded"] = Text
    by_steps, by_seconds = curves.validation_curves(comparison)
    return templates.get_template("page.html").render(
        comparison=comparison,
        heading=contents.heading,
        costs=costs.sheet(comparison),
        lead=_lead(contents),
        scatters=[scatter for column in comparison.columns for scatter in results.scatters(column, comparison)],
        histograms=_known(results.histograms(column, comparison) for column in comparison.columns),
        pictures=pictures(comparison),
        runs=contents.runs,
        settings=tables.settings(comparison, leaders(contents.groups)),
        intervals=_known(results.intervals(column, comparison) for column in comparison.columns),
        groups=contents.groups,
        matrix=difference_tables.matrix,
        most_in_full=MOST_IN_FULL,
        difference_notes=difference_tables.NOTES,
        by_steps=by_steps,
        by_seconds=by_seconds,
        inner_steps=_known(curves.inner_steps(column, comparison) for column in comparison.columns),
        details=tables.details(comparison),
        further=further.sheets(comparison),
        further_curves=curves.further(comparison),
        searches=[*map(_search, contents.searches)],
        left_out=tables.left_out(contents),
    )


def _known(things: Iterable[T | None]) -> list[T]:
    return [thing for thing in things if thing is not None]


def _search(search: Search) -> tuple[Sheet, list[Chart], Rows | None]:
    """Returns the table of a search, and its plots."""
    charts = _known([search_plots.front(search), search_plots.history(search)])
    return search_tables.trials(search), charts, search_plots.importance(search)


def _lead(contents: Contents) -> str:
    """Returns the numbers of runs and trials, the date, the versions and the revisions."""
    comparison = contents.comparison
    runs = [*comparison.shown, *comparison.apart]
    statuses = Counter({run.folder: run.status for run in runs}.values())
    facts = [", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))]
    facts += [f"search {search.name} of {search_tables.counts(search)}" for search in contents.searches]
    facts.append(contents.heading.date)
    for name in ("metalearn", "torch"):
        facts.append(_made_with(name, ((run.result.versions or {}).get(name) for run in runs)))
    facts.append(_made_with("revision", (run.result.git for run in runs)))
    return " · ".join(filter(None, facts))


def _made_with(name: str, versions: Iterable[str | None]) -> str:
    found = sorted(set(filter(None, versions)))
    return f"{name} {', '.join(found)}" if found else ""
