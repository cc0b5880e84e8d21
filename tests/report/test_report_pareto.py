"""The report of a search with several objectives: its Pareto front, as table, plot and file."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from run_folders import pareto

from metalearn.report.comparing import contents
from metalearn.report.export import write
from metalearn.report.plots import search_plots
from metalearn.report.tables import search_tables

POINTS = [(0.5, 0.1), (0.9, 0.4), (0.6, 0.3), (0.7, 0.2), (0.7, 0.5), (0.5, 0.1)]
"""Trial 2 is beaten by 3, and 4 by 3 and 1; 0 and 5 are equal."""

FRONT = ["0001", "0003", "0000", "0005"]


@pytest.fixture
def found(tmp_path: Path) -> contents.Contents:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return contents.read([pareto(tmp_path / "trade", POINTS)])


def test_the_front_by_hand_leads_the_table(found: contents.Contents) -> None:
    (search,) = found.searches
    sheet = search_tables.trials(search)
    assert sheet.title == "Search trade: trials by accuracy and seconds per task"
    assert [row[0].text for row in sheet.rows] == [*FRONT, "0004", "0002"]
    assert [row[0].tone for row in sheet.rows] == ["good"] * 4 + ["plain"] * 2
    assert sheet.head[2:4] == ["accuracy %", "ms per task"]
    assert [cell.text for cell in sheet.rows[0][2:4]] == ["90.00", "400.00"]


def test_the_front_of_many_trials_is_that_of_all_pairs(tmp_path: Path) -> None:
    points = [tuple(point) for point in np.random.default_rng(0).integers(0, 9, (40, 2)) / 10]
    (search,) = contents.read([pareto(tmp_path / "trade", points)]).searches  # type: ignore[arg-type]
    expected = {
        i for i, (a, s) in enumerate(points) if not any(b >= a and t <= s and (b, t) != (a, s) for b, t in points)
    }
    assert {trial.number for trial in search.front} == expected


def test_the_plot_by_hand(found: contents.Contents) -> None:
    plot = search_plots.front(found.searches[0])
    assert plot is not None
    assert (plot.x.low, plot.x.high, plot.y.low, plot.y.high) == pytest.approx((0.1, 0.5, 0.5, 0.9))
    assert [(point.number, point.at) for point in plot.points] == [
        (0, (0, 100)),
        (5, (0, 100)),
        (3, (25, 50)),
        (1, (75, 0)),
    ]
    assert {path.kind: path.d for path in plot.paths} == {
        "best": "M0.0 100.0H0.0V100.0H25.0V50.0H75.0V0.0",
        "trial behind": "M50.0 75.0h0M100.0 50.0h0",
        "trial completed": "M0.0 100.0h0M0.0 100.0h0M25.0 50.0h0M75.0 0.0h0",
    }


def test_page_and_file_have_the_front(found: contents.Contents, tmp_path: Path) -> None:
    write(tmp_path / "out", found)
    page = (tmp_path / "out/report.html").read_text()
    assert "Pareto front" in page and "the front has 4 trials" in page
    with (tmp_path / "out/trials.csv").open(newline="") as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    assert [name for name, row in rows.items() if row["on_front"] == "1"] == FRONT
    assert rows["0003"]["seconds_per_task"] == "0.2"


@pytest.mark.parametrize("front_first", [True, False])
def test_searches_with_other_objectives_share_a_file(
    found: contents.Contents, tmp_path: Path, *, front_first: bool
) -> None:
    (both,) = found.searches
    scored = [trial._replace(values=trial.values[:1]) for trial in both.trials]
    alone = replace(both, folder=tmp_path / "alone", objectives=both.objectives[:1], trials=scored, on_front=set())
    write(tmp_path / "out", replace(found, searches=[both, alone] if front_first else [alone, both]))
    with (tmp_path / "out/trials.csv").open(newline="") as file:
        rows = {(row["search"], row["trial"]): row for row in csv.DictReader(file)}
    assert rows["trade", "0003"]["seconds_per_task"] == "0.2"
    assert rows["alone", "0003"]["seconds_per_task"] == rows["alone", "0003"]["on_front"] == ""
    assert [row["on_front"] for row in rows.values()].count("1") == len(FRONT)


def test_the_order_of_the_objectives_changes_nothing(found: contents.Contents, tmp_path: Path) -> None:
    (search,) = found.searches
    (turned,) = contents.read([pareto(tmp_path / "t/trade", POINTS, ["seconds_per_task", "accuracy"])]).searches
    assert [objective.name for objective in turned.objectives] == ["accuracy", "seconds_per_task"]
    assert search_tables.trials(turned) == search_tables.trials(search)
    assert search_plots.front(turned) == search_plots.front(search)
    assert search.best and turned.best and turned.best.number == search.best.number == 1


def test_a_time_is_not_called_a_score_at_meta_val(tmp_path: Path) -> None:
    found = contents.read([pareto(tmp_path / "fast", POINTS, ["seconds_per_task"])])
    assert search_tables.trials(found.searches[0]).title == "Search fast: trials by seconds per task"
    history = search_plots.history(found.searches[0])
    assert history is not None and history.caption == "ms per task, against the number of the trial"
    write(tmp_path / "out", found)
    with (tmp_path / "out/trials.csv").open(newline="") as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    assert (rows["0003"]["meta_val"], rows["0003"]["seconds_per_task"]) == ("", "0.2")
    assert "on_front" not in rows["0003"]


@pytest.mark.parametrize("objectives", [["accuracy", "seconds_per_task"], ["seconds_per_task", "accuracy"]])
def test_importance_is_that_for_the_score(tmp_path: Path, objectives: list[str]) -> None:
    points = [((0.37 * i) % 1, 0.5) for i in range(1, 31)]
    folder = pareto(tmp_path / "trade", points, objectives, vary=("optimizer.lr", "optimizer.weight_decay"))
    (search,) = contents.read([folder]).searches
    assert search.importance and search.importance.shares["optimizer.lr"] > 0.8
    assert search_tables.importance(search).startswith("parameter importance for accuracy: optimizer.lr ")
