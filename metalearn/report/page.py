"""The report as one HTML page that needs nothing else: no script, no network, light and dark, phone and desktop."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from metalearn.report import plots, tables
from metalearn.report.cells import Comparison
from metalearn.report.paired import MOST_IN_FULL, Pairs
from metalearn.report.runs import Run

T = TypeVar("T")


def page(comparison: Comparison, groups: list[Pairs], unfinished: list[Path]) -> str:
    """The whole text of the page."""
    environment = Environment(
        loader=PackageLoader("metalearn.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["difference"] = tables.difference
    by_steps, by_seconds = plots.validation_curves(comparison)
    return environment.get_template("page.html").render(
        comparison=comparison,
        statuses=Counter(run.result["status"] for run in _runs(comparison)),
        made_with=_made_with(comparison),
        settings=tables.settings(comparison),
        dot_plots=_known(plots.results(column, comparison) for column in comparison.columns),
        groups=groups,
        most_in_full=MOST_IN_FULL,
        difference_notes=[tables.CORRECTED, tables.ONLY_EPISODES],
        by_steps=by_steps,
        by_seconds=by_seconds,
        inner_steps=_known(plots.inner_steps(column, comparison) for column in comparison.columns),
        details=tables.details(comparison),
        not_completed=tables.not_completed(comparison, unfinished),
    )


def _known(things: Iterable[T | None]) -> list[T]:
    return [thing for thing in things if thing is not None]


def _runs(comparison: Comparison) -> list[Run]:
    return [*(run for cell in comparison.cells for run in cell.runs), *comparison.apart]


def _made_with(comparison: Comparison) -> list[str]:
    """The versions of metalearn and torch, and the revisions, that the runs were made with."""
    made = []
    for name in ("metalearn", "torch"):
        found = {run.result.get("versions", {}).get(name) for run in _runs(comparison)}
        made.append(f"{name} {', '.join(sorted(filter(None, found)))}" if any(found) else "")
    revisions = {run.result.get("git") for run in _runs(comparison)}
    made.append(f"revision {', '.join(sorted(filter(None, revisions)))}" if any(revisions) else "")
    return [one for one in made if one]
