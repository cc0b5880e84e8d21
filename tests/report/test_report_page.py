"""The HTML page of a report, rendered by headless Chromium at desktop and phone width."""

import re
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, WIDTHS, browse
from reporting import report
from run_folders import leave, result, search, sweep

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")

ALGORITHMS = {f"{name}_{i}": 0.5 + 0.03 * i for i, name in enumerate(["prototypical", "maml", "relation"] * 4)}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Reports 72 runs, one failed run, and a search of 40 trials."""
    folder, out = tmp_path_factory.mktemp("sweep"), tmp_path_factory.mktemp("report")
    sweep(folder, ALGORITHMS)
    number = {"accuracy": 0.95, "source": "A. Nobody 2020, " + "with-one-very-long-word-" * 6}
    failed = result(None, algorithm="siamese", status="failed", error="out of memory " * 20, published=number)
    leave(folder / "failed", failed)
    values = [0.4 + 0.5 * (0.37 * i % 1) for i in range(40)]
    search(folder / "search", values, pruned=tuple(range(20, 35)), failed=(3, 39))
    assert report(folder, "--write", out).code == 0
    return (out / "report.html").read_text()


@pytest.fixture(scope="module")
def measured(page: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return browse(page, tmp_path_factory.mktemp("browser"))


def test_no_script_fails(measured) -> None:
    assert measured["errors"] == []


@pytest.mark.parametrize("device", WIDTHS)
def test_nothing_scrolls_sideways_but_tables_in_their_boxes(measured, device: str) -> None:
    seen = measured[device]
    assert seen["width"] <= WIDTHS[device]
    assert seen["scroll"] <= seen["width"]
    assert seen["outside"] == []


@pytest.mark.parametrize("device", WIDTHS)
def test_every_plot_is_drawn(measured, device: str) -> None:
    plots = measured[device]["plots"]
    # The plots are accuracy, inner steps and test episodes of two settings, validation against
    # steps and seconds, history and importance.
    assert len(plots) == 10
    for plot in plots:
        assert plot["smallest"] >= 15, plot
        assert plot["lengths"] > 0, plot
        assert plot["unseen"] == plot["outside"] == 0, plot
        assert plot["overlaps"] == 0, plot
    *of_runs, history, importance = plots
    for plot in of_runs:
        assert plot["paths"] >= 8 and plot["labels"] >= 3, plot
    assert history["title"].startswith("search: history")
    # Best so far, completed, pruned, failed.
    assert history["paths"] == 4 and history["labels"] >= 6
    assert importance["title"].startswith("search: parameter importance PED-ANOVA over 23 completed trials")
    assert importance["paths"] == 2


@pytest.mark.parametrize("device", WIDTHS)
def test_text_stays_legible(measured, device: str) -> None:
    assert measured[device]["smallest_text"] >= 11


def test_the_page_follows_the_colours_of_the_reader(measured, page: str, tmp_path: Path) -> None:
    dark = browse(page, tmp_path, "--blink-settings=preferredColorScheme=0")
    papers = {sum(map(int, re.findall(r"\d+", seen["desktop"]["paper"])[:3])) for seen in (measured, dark)}
    assert max(papers) > 600 and min(papers) < 150
