"""Reports of folders with damaged runs: these are named, the others are compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reporting import report
from run_folders import episode, leave, result, search

from metalearn.report.comparing import contents
from metalearn.report.tables.tables import all_sheets

NEVER_STARTED = {"status": "failed", "test": None, "steps": None, "num_parameters": None, "seconds": {"fit": None}}


def lines(folder: Path) -> list[str]:
    """Lists the files that a report cannot read."""
    found = contents.read([folder])
    assert [len(cell.completed) for cell in found.comparison.cells] == [1, 1]
    return found.damaged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Writes two intact runs."""
    rng = np.random.default_rng(0)
    for name, mean in (("maml", 0.8), ("anil", 0.7)):
        leave(tmp_path / "runs" / name, result(mean, algorithm=name), rng.normal(mean, 0.1, 100), steps=40)
    return tmp_path / "runs"


def test_a_report_names_what_is_damaged_and_compares_the_others(folder: Path, tmp_path: Path) -> None:
    leave(folder / "mistyped", result(None, **{**NEVER_STARTED, "seed": "1-3"}))
    curve = {"x_name": "x", "y_name": "y", "x": [0.0, 1.0], "y": [1.0]}
    leave(folder / "unequal", result(seed=1, further={"name": "mine", "scores": {}, "curve": curve}))
    (leave(folder / "torn", result()) / "result.json").write_text('{"status": "comp')
    (folder / "maml/test_episodes.npz").write_bytes(b"PK\x03\x04 torn")
    with (folder / "anil/metrics.csv").open("a") as file:
        file.write("1\n")
    done = report(folder, "--write", tmp_path / "out")
    assert done.code == 0
    said = done.stderr.splitlines()
    assert len(said) == 5
    for name, why in (
        ("mistyped/result.json", "cannot be read: seed is '1-3', not a whole number"),
        ("unequal/result.json", "cannot be read: further.curve has 2 x and 1 y; it needs one y for each x"),
        ("torn/result.json", "cannot be read: Unterminated string"),
        ("maml/test_episodes.npz", "cannot be read: "),
        ("anil/metrics.csv", "line 46 is torn and left out"),
    ):
        assert sum(name in line and why in line for line in said) == 1
        for text in (done.stdout, *((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))):
            assert Path(name).parent.name in text.replace("\\", "")
    assert "80.00 ± 0.80" in done.stdout and "70.00 ± 0.80" in done.stdout
    assert done.stdout.index("Files that could not be read") > done.stdout.index("70.00 ± 0.80")


@pytest.mark.parametrize(
    ("tail", "line", "last"),
    [
        ("", None, 40),
        ("1\n", 46, 40),
        ("50,,0.9,7.1", 46, 40),  # the numbers may be cut, e.g. 0.95 or 7.123
        ("50,,0.95,7.1\n", None, 50),
        ("5x,,0.9,7.1\n60,,0.9,8.0\n", 46, 60),
        ("50,,nan,7.1\n", None, 40),
        ("\x00\x00\n", 46, 40),
    ],
)
def test_a_torn_row_is_left_out_of_the_curve(folder: Path, tail: str, line: int | None, last: int) -> None:
    with (folder / "maml/metrics.csv").open("a") as file:
        file.write(tail)
    expected = [] if line is None else [f"{folder}/maml/metrics.csv: line {line} is torn and left out"]
    assert lines(folder) == expected
    maml = next(cell for cell in contents.read([folder]).comparison.cells if cell.method.algorithm == "maml")
    assert maml.runs[0].validations("accuracy")[-1].step == last


@pytest.mark.parametrize("damage", ["empty", "text", "bit", "cut", "other score", "two numbers an episode", "fewer"])
def test_scores_that_cannot_be_read_leave_the_run_its_mean(folder: Path, damage: str) -> None:
    path = folder / "maml/test_episodes.npz"
    whole = path.read_bytes()
    if damage == "other score":
        np.savez(path, mse=np.zeros(100))
    elif damage == "two numbers an episode":
        np.savez(path, accuracy=np.zeros((100, 2)))
    elif damage == "fewer":
        np.savez(path, accuracy=np.zeros(50))
    else:
        flipped = whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]
        path.write_bytes({"empty": b"", "text": b"scores", "bit": flipped, "cut": whole[:-30]}[damage])
    (line,) = lines(folder)
    assert line.startswith(str(path)) and "\n" not in line
    assert contents.read([folder]).groups == []


def test_refused_runs_are_one_line_and_no_cells(folder: Path) -> None:
    for way in (500, 600):
        error = f"way {way} exceeds the 12 classes"
        leave(folder / f"refused{way}", result(**{**NEVER_STARTED, "episode": episode(way=way), "error": error}))
    found = contents.read([folder])
    (column,) = found.comparison.columns
    assert column.way == (5, 5)
    (sheet,) = [sheet for sheet in all_sheets(found) if sheet.title == "Runs that are in no average"]
    assert sheet.rows == []
    (note,) = sheet.notes
    assert (
        note.text
        == f"2 runs were refused before training; the last: {folder}/refused600: way 600 exceeds the 12 classes"
    )


@pytest.mark.parametrize(
    ("changes", "checkpoint"),
    [({"num_parameters": 10}, False), ({"num_parameters": 10, "steps": 0}, False), ({}, True)],
)
def test_runs_that_failed_later_are_failed(folder: Path, changes: dict[str, Any], checkpoint: bool) -> None:
    failed = leave(folder / "failed", result(**{**NEVER_STARTED, "error": "out of memory", "seed": 1, **changes}))
    if checkpoint:
        (failed / "checkpoints").mkdir()
        (failed / "checkpoints/last.ckpt").touch()
    found = contents.read([folder])
    assert found.refused == []
    assert [dict(cell.others) for cell in found.comparison.cells if cell.others] == [{"failed": 1}]


@pytest.mark.parametrize(
    "fields",
    [result(**{**NEVER_STARTED, "error": "no such class"}), {"accuracy": 1}, result(evaluations={"5x1": {}})],
)
def test_with_nothing_to_compare_the_exit_code_is_one(tmp_path: Path, fields: dict[str, Any]) -> None:
    leave(tmp_path / "run", fields)
    done = report(tmp_path, "--write", tmp_path / "out")
    assert done.code == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "run") in done.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("search.json", json.dumps({"storage": 5, "study": "a", "score": "accuracy"})),
        ("search.json", "[1]"),
        ("study.log", "[1]\n"),
        ("study.log", '{"op_code": 99}\n'),
        ("study.log", "\0" * 50 + "\n"),
        ("study.log", "{torn\n{torn\n"),
    ],
)
def test_a_damaged_study_is_named_and_its_trials_are_compared(tmp_path: Path, name: str, text: str) -> None:
    folder = search(tmp_path / "search", [0.5, 0.6], vary=("optimizer.lr",))
    (folder / name).write_text(text)
    found = contents.read([tmp_path])
    (line,) = found.unread
    assert str(folder) in line and "\n" not in line
    assert len(found.comparison.cells) == 2
