"""The HTML page of a report, rendered by headless Chromium at desktop and phone width."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_folders import leave, result, search, sweep

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")

WIDTHS = {"desktop": 1280, "phone": 360}

ALGORITHMS = {f"{name}_{i}": 0.5 + 0.03 * i for i, name in enumerate(["prototypical", "maml", "relation"] * 4)}

# A frame can have the width of a phone; the window of a browser cannot.
FRAME = '<iframe id="{name}" width="{width}" height="2000" style="border:0" srcdoc="{page}"></iframe>'
WATCH = "<script>parent.errors = parent.errors || []; onerror = message => parent.errors.push(message)</script>"
MEASURE = """
<pre id="measured"></pre>
<script>
function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement, view = frame.contentWindow;
  const box = element => element.getBoundingClientRect();
  const pixels = element => parseFloat(view.getComputedStyle(element).fontSize);
  const outside = [...page.querySelectorAll("body *")].filter(e =>
    !e.closest(".scroll *") && !e.closest("svg *") && (box(e).right > root.clientWidth + 0.5 || box(e).left < -0.5));
  const plots = [...page.querySelectorAll("figure")].map(figure => {
    const paths = [...figure.querySelectorAll("svg.plot path:not(.grid)")];
    const inside = path => {
      const svg = box(path.closest("svg")), own = box(path);
      const [across, down] = [own.left >= svg.left - 9 && own.right <= svg.right + 9, own.top >= svg.top - 9];
      return across && down && own.bottom <= svg.bottom + 9;  // 9: half of the widest stroke, and more
    };
    const sizes = [...figure.querySelectorAll("svg.plot")].map(svg => Math.min(box(svg).width, box(svg).height));
    const labels = [...figure.querySelectorAll("i")];
    const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const overlap = (a, b) => a.parentElement === b.parentElement && meet(box(a), box(b));
    return {
      title: figure.querySelector("figcaption").textContent,
      smallest: Math.min(...sizes),
      paths: paths.length,
      lengths: paths.reduce((sum, path) => sum + path.getTotalLength(), 0),
      unseen: paths.filter(path => ["none", "rgba(0, 0, 0, 0)"].includes(view.getComputedStyle(path).stroke)).length,
      outside: paths.filter(path => !inside(path)).length,
      labels: labels.length,
      overlaps: labels.filter((a, i) => labels.slice(i + 1).some(b => overlap(a, b))).length,
    };
  });
  return {
    width: root.clientWidth,
    scroll: root.scrollWidth,
    outside: outside.map(e => e.outerHTML.slice(0, 80)),
    paper: view.getComputedStyle(page.body).backgroundColor,
    smallest_text: Math.min(...[...page.querySelectorAll("td, th, li, i, span")].map(pixels)),
    plots,
  };
}
addEventListener("load", () => {
  const frames = [...document.querySelectorAll("iframe")];
  const found = Object.fromEntries(frames.map(frame => [frame.id, measure(frame)]));
  document.getElementById("measured").textContent = JSON.stringify({errors: window.errors || [], ...found});
});
</script>
"""


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
    command = [sys.executable, "-m", "metalearn.report", str(folder), "--write", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return (out / "report.html").read_text()


def browse(page: str, folder: Path, *options: str) -> dict[str, Any]:
    """Returns the measurements in a frame of each width."""
    watched = page.replace("<head>", f"<head>{WATCH}")
    frames = [FRAME.format(name=name, width=width, page=html.escape(watched)) for name, width in WIDTHS.items()]
    (folder / "frames.html").write_text(f"<!doctype html><body>{''.join(frames)}{MEASURE}")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--window-size=1400,900", "--enable-logging=stderr", *options, "--dump-dom"]
    done = subprocess.run(
        [*command, (folder / "frames.html").as_uri()], capture_output=True, text=True, check=True, timeout=300
    )
    assert "CONSOLE" not in done.stderr
    measured = re.search(r'<pre id="measured">(.+?)</pre>', done.stdout, re.DOTALL)
    assert measured, done.stderr
    return json.loads(html.unescape(measured[1]))


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
