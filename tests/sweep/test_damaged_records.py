"""Damaged study.log, search.json and sweep.json: torn ends are skipped, the rest is one line."""

import json
from pathlib import Path

import pytest
from searching import Controller, impatient  # noqa: F401
from test_definition import jobs

from metalearn.report.reading import searches
from metalearn.run.directory import study_record
from metalearn.run.directory.study_record import StudyRecord
from metalearn.sweep import definition, standing


def journal(folder: Path) -> Path:
    """Returns the journal of a search of two finished trials."""
    Controller(folder, n_trials=2).run()
    study_record.write(StudyRecord(str(folder / "study.log"), folder.name, "accuracy"), folder)
    return folder / "study.log"


@pytest.mark.parametrize("torn", [b'{"op_code": 8, "tri', b"\0" * 4096, b'{"op_code":5}\0\0\0', b"x"])
def test_a_torn_end_of_a_study_is_left_out(tmp_path: Path, torn: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = journal(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert len(searches.read(tmp_path).trials) == 2
    assert path.read_bytes() == whole + torn  # a report changes nothing
    again = Controller(tmp_path, n_trials=3)
    again.run()
    assert again.states() == ["COMPLETE"] * 3
    assert f"{path}: removed its incomplete last line ({len(torn)} bytes)" in caplog.text
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


@pytest.mark.parametrize(
    "line", ["[]", "3", "null", '{"op_code": 99}', '{"op_code": 4}', "{}", '{"op_code', "\0\0", "x"]
)
def test_a_damaged_line_of_a_study_is_named(tmp_path: Path, line: str) -> None:
    path = journal(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], line, *lines[3:], ""]))
    for read in (lambda: searches.read(tmp_path), lambda: Controller(tmp_path)):
        with pytest.raises(ValueError, match=f"{path}, line 4: the study is damaged here: ") as raised:
            read()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "3", "[1, 2, 3]", "{}", '{"storage": 1, "study": "s", "score": "accuracy"}', '{"storage": "a", "st'],
)
def test_a_damaged_record_of_a_study_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "search.json").write_text(content)
    with pytest.raises(
        ValueError, match=f"{tmp_path}/search.json does not name a study: .* repeat the search"
    ) as raised:
        study_record.read(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content", ["", "[]", "3", '{"command": 3, "jobs": {}}', '{"command": [], "jobs": {"0": 3}}', '{"command": ["a"']
)
def test_a_damaged_neighbour_refuses_no_other_sweep(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["--multirun", "seed=0,1", "trainer=cpu"]
    ours, damaged = (tmp_path / "outputs/sweeps" / name for name in ("ours", "damaged"))
    for folder in (ours, damaged):
        folder.mkdir(parents=True)
    definition.record(ours, jobs(ours, "seed=0", "seed=1"), argv)
    (damaged / "sweep.json").write_text(content)
    assert definition.continued(argv)[-1] == "hydra.sweep.dir='outputs/sweeps/ours'"
    assert "outputs/sweeps/damaged/sweep.json is not the list of jobs of a sweep: " in caplog.text
    assert "it is passed over" in caplog.text
    remedy = "put a copy of it back, or name another sweep with hydra.sweep.dir=DIR$"
    with pytest.raises(ValueError, match=f"damaged/sweep.json is not the list .*; {remedy}"):
        definition.record(damaged, jobs(damaged, "seed=0", "seed=1"), argv)


@pytest.mark.parametrize("content", ["[seed=3", "a: b", ""])
def test_a_trial_with_torn_overrides_stands_without_them(tmp_path: Path, content: str) -> None:
    (tmp_path / "0000/.hydra").mkdir(parents=True)
    (tmp_path / "sweep.json").write_text('{"command": [], "typed": [], "cwd": "/", "jobs": {}}')
    (tmp_path / "0000/stdout.log").write_text("$ a\n# exit code -9\n")
    (tmp_path / "0000/.hydra/overrides.yaml").write_text(content)
    (trial,) = standing.read(tmp_path)
    assert (trial.name, trial.label, trial.reason) == ("0000", "", "killed by SIGKILL")
