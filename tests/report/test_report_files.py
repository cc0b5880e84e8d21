"""The report of a sweep on the terminal and as files: equal content in every format."""

import csv
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reporting import report
from run_folders import episode, leave, regression, result, sweep

from metalearn.report.plots.plots import scale
from metalearn.report.sheet import Sheet, Text, latex, markdown

ALGORITHMS = {
    "prototypical": 0.80,
    "matching": 0.798,
    "maml": 0.75,
    "fomaml": 0.7,
    "boil": 0.72,
    "anil": 0.74,
    "r2d2": 0.79,
    "mann": 0.5,
}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Returns output and folder of a report of 48 runs, one failed and one unfinished run."""
    folder, out = tmp_path_factory.mktemp("sweep"), tmp_path_factory.mktemp("report") / "[old]"
    sweep(folder, ALGORITHMS)
    leave(folder / "failed", result(None, algorithm="siamese", status="failed", error="loss is nan <&> 50 %\nmore"))
    (folder / "unfinished/.hydra").mkdir(parents=True)
    done = report(folder, "--write", out)
    assert done.code == 0, done.stderr
    return done.stdout, out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_terminal_says_all(reported) -> None:
    text, out = reported
    for words in ("1 failed", "no run", "loss is nan <&> 50 %", "unfinished", "[a]", "(transductive)", "not shown"):
        assert words in text
    for name in ("report.html", "report.md", "report.tex", "report.csv", "differences.csv"):
        assert f"written: {out / name}" in text
        assert (out / name).stat().st_size > 0


def test_the_numbers_are_those_of_the_runs_and_equal_in_every_format(reported) -> None:
    text, out = reported
    cells = rows(out / "report.csv")
    assert len(cells) == 2 * len(ALGORITHMS) + 1
    for cell in cells:
        if cell["algorithm"] == "siamese":
            assert (cell["seeds"], cell["mean"], cell["not_completed"]) == ("0", "", "1 failed")
            continue
        assert (cell["seeds"], cell["interval_over"]) == ("3", "seeds")
        number = f"{100 * float(cell['mean']):.2f} ± {100 * float(cell['ci95']):.2f}"
        assert number in text
        assert number in (out / "report.md").read_text()
        assert number in (out / "report.html").read_text()
        assert number.replace("±", r"$\pm$") in (out / "report.tex").read_text()


def test_all_pairs_of_a_column_are_compared(reported) -> None:
    pairs = rows(reported[1] / "differences.csv")
    k = len(ALGORITHMS)
    assert len(pairs) == 2 * k * (k - 1) // 2
    far = next(p for p in pairs if {p["first_algorithm"], p["second_algorithm"]} == {"prototypical", "mann"})
    assert far["real"] == "yes" and float(far["p_holm"]) < 1e-6


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(reported) -> None:
    page = (reported[1] / "report.html").read_text()
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert "loss is nan &lt;&amp;&gt; 50 %" in page
    assert (
        page.count("<figure>") == 2 + 2 + 2 + 2
    )  # accuracy, inner steps and episodes of two settings, validation by steps and seconds


def test_reporting_twice_gives_the_same_files(reported, tmp_path: Path) -> None:
    sweep(tmp_path / "runs", {"maml": 0.7, "anil": 0.8}, seeds=2)
    texts = []
    for out in (tmp_path / "one", tmp_path / "two"):
        assert report(tmp_path / "runs", "--write", out).code == 0
        texts.append({path.name: path.read_text() for path in out.iterdir()})
    assert texts[0] == texts[1]


def test_one_run_is_one_row(tmp_path: Path) -> None:
    leave(tmp_path / "run", result(0.9, batch_norm="batch", transductive=True), np.full(100, 0.9))
    code, text, _ = report(tmp_path)
    assert code == 0
    assert text.count("90.00 ± 0.80") == 1
    assert "Paired" not in text


def test_without_a_run_that_completed_there_is_still_a_report(tmp_path: Path) -> None:
    for i, shot in enumerate((1, 5)):
        leave(tmp_path / str(i), result(None, status="failed", episode=episode(shot=shot), error="out of memory"))
    code, text, _ = report(tmp_path, "--write", tmp_path / "out")
    assert code == 0
    assert text.count("out of memory") == 2


@pytest.mark.parametrize("fine", [True, False])
def test_what_diverged_is_reported_and_not_drawn(tmp_path: Path, fine: bool) -> None:
    for seed, mean in enumerate([0.5 if fine else None, None]):
        folder = leave(tmp_path / f"{seed}", regression(mean, seed=seed))
        curve = [0.9, 0.5] if mean else [7.0, math.inf, math.nan]
        rows = [f"{step},{value},{step}.0" for step, value in enumerate(curve)]
        (folder / "metrics.csv").write_text("\n".join(["step,val/mse,val/seconds", *rows]) + "\n")
    code, text, _ = report(tmp_path, "--write", tmp_path / "out")
    assert code == 0
    assert ("0.5000 ± 0.0100" if fine else "2 diverged") in text
    page = (tmp_path / "out/report.html").read_text()
    # Validations before the divergence, and tested runs.
    assert page.count("<figure>") == 2 + 2 * fine
    assert not re.search(r"\b(nan|inf)\b", page)


def test_nothing_to_report_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "metalearn.report", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"metalearn.report: there is no result.json below {tmp_path / 'nowhere'}"]


def test_an_interruption_ends_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folders: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metalearn.report.comparing.contents.read", interrupted)
    assert report(tmp_path) == (130, "", "")


def test_a_file_is_no_folder_to_write_into(tmp_path: Path) -> None:
    leave(tmp_path / "run", result(0.9))
    (page := tmp_path / "report.html").write_text("mine")
    line = f"metalearn.report: {page} is a file: name a folder, such as {tmp_path}\n"
    assert report(tmp_path, "--write", page) == (1, "", line)
    assert page.read_text() == "mine"


SHEET = Sheet("A_b", ["name", "x %"], 1, [[Text("a|b_c <d>"), Text("1 ± 2", "a", "good")]], [Text("of # all", "a")])


def test_markdown() -> None:
    lines = markdown(SHEET).splitlines()
    assert lines[2:5] == ["| name | x % |", "| --- | ---: |", r"| a\|b\_c \<d\> | **1 ± 2** <sup>a</sup> |"]
    assert lines[-1] == r"- \[a\] of # all"
    assert lines[0] == r"## A\_b"


def test_the_heading_of_a_markdown_page_is_the_name_of_its_folder(tmp_path: Path) -> None:
    report(leave(tmp_path / "a*b* <i>", result()), "--write", tmp_path / "out")
    assert (tmp_path / "out/report.md").read_text().startswith("# a\\*b\\* \\<i\\>\n")


def test_latex() -> None:
    text = latex(SHEET)
    assert r"a\textbar{}b\_c \textless{}d\textgreater{} & \textbf{1 $\pm$ 2}\textsuperscript{a} \\" in text
    assert r"\begin{tabular}{lr}" in text and r"\caption{A\_b}" in text


def test_latex_has_the_columns_that_it_announces_and_balanced_braces(reported) -> None:
    text = (reported[1] / "report.tex").read_text()
    tables = re.findall(r"\\begin\{tabular\}\{(l+r*)\}\n\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)
    assert len(tables) == text.count(r"\begin{table}") == 5
    for columns, body in tables:
        lines = [line for line in body.splitlines() if line != r"\midrule"]
        assert len(lines) >= 2
        for line in lines:
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1, line
            assert line.endswith(r" \\")
    braces = re.sub(r"\\[{}\\]", "", text)
    assert braces.count("{") == braces.count("}")


@pytest.mark.skipif(
    not shutil.which("pdflatex"), reason="there is no pdflatex here (Debian: texlive-latex-recommended)"
)
def test_latex_compiles_whatever_it_holds(reported, tmp_path: Path) -> None:
    hostile = Sheet("\\ ~ ^ & % $ # _ { }", ["a_b", "100 %"], 1, [[Text("< | > \\end{tabular}"), Text("−1 ± 2", "a")]])
    unread = Sheet("Without rows", [], 0, [], [Text("why_not")])
    wide = Sheet("Wide", ["word"] * 20, 20, [[Text("words and words")] * 20])
    text = latex(hostile) + latex(unread) + latex(wide) + (reported[1] / "report.tex").read_text()
    document = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}" + text + r"\end{document}"
    (tmp_path / "all.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.0, 6000.0), ["0", "2,000", "4,000", "6,000"]),
        ((0.9543, 0.9812), ["0.950", "0.960", "0.970", "0.980", "0.990"]),
        ((3.0, 3.0), ["2.4", "2.6", "2.8", "3.0", "3.2", "3.4", "3.6"]),
        ((1e18, 1e18), [f"{0.994e18 + i * 2e15:.0f}" for i in range(7)]),  # an error that has nearly diverged
        ((1e18, 1e18 + 256), [f"{0.994e18 + i * 2e15:.0f}" for i in range(7)]),
        ((1e-12, 3e-12), [f"{i * 5e-13:.13f}" for i in range(2, 7)]),
    ],
)
def test_scales_have_round_ticks_around_the_values(values: tuple[float, float], ticks: list[str]) -> None:
    axis = scale(values)
    assert [float(tick.text.replace(",", "")) for tick in axis.ticks] == [
        float(text.replace(",", "")) for text in ticks
    ]
    assert axis.low <= min(values) and max(values) <= axis.high
    assert (axis.ticks[0].at, axis.ticks[-1].at) == (0, 100)
