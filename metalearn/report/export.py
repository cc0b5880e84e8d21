"""Writes a report as files: Markdown, LaTeX, HTML, and tables as CSV."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from metalearn.files import write_text
from metalearn.formats import csv_text
from metalearn.report.comparing.cells import mean
from metalearn.report.comparing.contents import Contents, read
from metalearn.report.page import page
from metalearn.report.reading.searches import Search, Trial
from metalearn.report.sheet import latex, markdown, plain
from metalearn.report.tables import tables
from metalearn.report.tables.run_fields import FIELDS, Field

METHOD_FIELDS: list[Field] = [
    ("algorithm", lambda cell: cell.method.algorithm),
    ("backbone", lambda cell: cell.method.backbone),
    ("with", lambda cell: " ".join(cell.method.overrides)),
    ("protocol", lambda cell: str(cell.protocol)),
]

CELL_FIELDS: list[Field] = [
    ("dataset", lambda cell: cell.column.dataset),
    ("test", lambda cell: cell.column.setting),
    *METHOD_FIELDS,
    ("seeds", lambda cell: len(cell.completed)),
    ("measure", lambda cell: cell.score.name),
    ("mean", lambda cell: _known(cell.mean)),
    ("ci95", lambda cell: _known(cell.estimate.ci95)),
    ("interval_over", lambda cell: f"{cell.repeats}s" if len(cell.completed) > 1 else "episodes"),
    ("not_completed", lambda cell: " ".join(cell.ends)),
    ("published", lambda cell: cell.published and cell.published.value),
    ("published_source", lambda cell: cell.published and cell.published.source),
    ("episodes_sha256", lambda cell: " ".join(sorted(cell.episodes))),
    ("steps", lambda cell: _known(mean(run.result.steps for run in cell.completed))),
    ("seconds_of_training", lambda cell: _known(mean(run.result.seconds.fit for run in cell.completed))),
]
"""Columns of report.csv; accuracies are fractions, times seconds."""

DIFFERENCE_FIELDS: list[Field] = [
    ("dataset", lambda pair: pair.first.column.dataset),
    ("test", lambda pair: pair.first.column.setting),
    *((f"first_{name}", lambda pair, value=value: value(pair.first)) for name, value in METHOD_FIELDS),
    *((f"second_{name}", lambda pair, value=value: value(pair.second)) for name, value in METHOD_FIELDS),
    ("measure", lambda pair: pair.first.score.name),
    ("difference", lambda pair: pair.mean),
    ("ci95", lambda pair: pair.ci95),
    ("p_holm", lambda pair: pair.p),
    ("real", lambda pair: "yes" if pair.real else "no"),
]
"""Columns of differences.csv."""


def write(folder: Path, contents: Contents) -> list[Path]:
    """Writes all files into `folder`, creating it where needed; returns their paths.

    Raises ValueError for a file in place of the folder.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file: name a folder, such as {folder.parent}")
    searches = contents.searches
    sheets = tables.all_sheets(contents)
    texts = {
        "report.md": _head(contents) + "\n".join(map(markdown, sheets)),
        "report.tex": "\n".join(map(latex, sheets)),
        "report.csv": _csv(CELL_FIELDS, contents.comparison.cells),
        "differences.csv": _csv(DIFFERENCE_FIELDS, (pair for group in contents.groups for pair in group.all())),
        "runs.csv": _csv(FIELDS, contents.runs),
        "report.html": page(contents),
    }
    if searches:
        trials = [(search, trial) for search in searches for trial in search.best_first]
        texts["trials.csv"] = _csv(_trial_fields(searches), trials)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def write_page(path: Path, folder: Path) -> None:
    """Writes the page on the runs of a folder. Raises FileNotFoundError without any result."""
    write_text(path, page(read([folder])))


def _head(contents: Contents) -> str:
    title, date, commands = contents.heading
    typed = (f"\n    {command}" for command in commands)
    return "\n".join([f"# {plain(title)}", "", *filter(None, [date]), *typed, "", ""])


def _trial_fields(searches: list[Search]) -> list[Field]:
    """Returns the columns of trials.csv, with further objectives and parameters of any search."""
    params = dict.fromkeys(name for search in searches for name in search.params)
    fronts = any(search.has_front for search in searches)
    further = dict.fromkeys(objective.name for search in searches for objective in search.further)
    return [
        ("search", lambda row: row[0].name),
        ("trial", lambda row: row[1].folder.name),
        ("state", lambda row: row[1].state),
        ("measure", lambda row: row[0].score.name),
        ("meta_val", lambda row: row[1].value if row[0].is_by_meta_val else None),
        *((name, lambda row, name=name: _values(*row).get(name)) for name in further),
        *([("on_front", lambda row: int(row[1] in row[0].front) if row[0].has_front else None)] if fronts else []),
        ("steps", lambda row: row[1].steps),
        *((name, lambda row, name=name: row[1].params.get(name)) for name in params),
    ]


def _values(search: Search, trial: Trial) -> dict[str, float]:
    """Returns the value of each objective by its name; empty where the trial has none."""
    return {objective.name: value for objective, value in zip(search.objectives, trial.values, strict=False)}


def _csv(fields: list[Field], things: Iterable[Any]) -> str:
    return csv_text([[name for name, _ in fields], *([value(thing) for _, value in fields] for thing in things)])


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
