"""The records of docs/records/: they give the tables of the pages, and their commands hold."""

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keep_record
import pytest
import write_curves
import write_tables
from conftest import REPOSITORY, resolved
from run_folders import result

from metalearn.run.directory.result import Result

RECORDS = sorted((REPOSITORY / "docs/records").glob("*.json"))
RENAMED = {"task": "problem"}
"""Keys that older records have under another name."""
COUNTED = {"num_base_classes"}
"""Keys that a run counts in the data."""


def changes(recorded: Any, today: Any, key: str = "") -> list[str]:
    """Lists the keys of a recorded config whose value has changed or is missing today."""
    if isinstance(recorded, dict) and isinstance(today, dict):
        children = ((RENAMED.get(name, name), value) for name, value in recorded.items() if name not in COUNTED)
        return [c for name, value in children for c in changes(value, today.get(name), f"{key}.{name}".strip("."))]
    place = isinstance(recorded, str) and "${paths." in recorded
    return [] if place or recorded == today else [f"{key}: {recorded} -> {today}"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_command_of_a_record_still_means_what_was_run(path: Path) -> None:
    kept = json.loads(path.read_text())
    assert changes(kept["config"], resolved(*kept["result"]["overrides"])) == []


def test_every_table_is_as_its_records_are() -> None:
    records = write_tables.read()
    for page in write_tables.PAGES:
        assert write_tables.written(page.read_text(), records) == page.read_text(), f"{page}: make tables"
    for path in write_tables.EXPERIMENTS:
        assert write_tables.headed(path.stem, path.read_text(), records) == path.read_text(), f"{path}: make tables"


def test_every_curve_is_as_its_records_are() -> None:
    """An algorithm has a curve if it has records, and its page shows it."""
    drawn = {path.name: path.read_text() for path in (REPOSITORY / "docs/curves").iterdir()}
    assert drawn == write_curves.curves(), "make tables"
    shown = [path.stem for path in REPOSITORY.glob("docs/algorithms/*.md") if "](../curves/" in path.read_text()]
    assert sorted(f"{name}.svg" for name in shown) == sorted(drawn)


def test_a_record_of_a_run_gives_a_row(metalearn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = metalearn("evaluation.settings=[2w1s]", "seed=3")
    kept = keep_record.record(run.folder)
    assert kept["command"].startswith("python -m metalearn ")
    assert str(run.folder) not in json.dumps(kept)
    best = run.result["val"]["accuracy"]["mean"]
    assert kept["validation"][run.result["best_step"]] == pytest.approx(best, abs=1e-5)
    (tmp_path / "docs/records").mkdir(parents=True)
    (tmp_path / f"docs/records/{keep_record.name(kept)}.json").write_text(json.dumps(kept))
    monkeypatch.setattr(write_tables, "ROOT", tmp_path)
    page = "<!-- table of glyphs-* -->\n<!-- end of table -->"
    mean = run.test["accuracy"]["mean"]
    name = keep_record.name(kept).removesuffix("-seed3")
    headed = write_tables.headed(name, "# @package _global_\n# Old\n", write_tables.read())
    assert headed.splitlines()[1].startswith(f"# Measured: {100 * mean:.2f} ±")
    assert write_tables.headed("other", headed, write_tables.read()) == "# @package _global_\n# Old\n"
    rows = write_tables.written(page, write_tables.read()).splitlines()[3:-1]
    assert [re.findall(r"\d-way \d-shot", row)[0] for row in rows] == ["5-way 1-shot", "2-way 1-shot"]
    assert f"**{100 * mean:.2f} ±" in rows[0]
    with pytest.raises(ValueError, match="has no record of other"):
        write_tables.written(page.replace("glyphs-*", "other"), write_tables.read())


def test_a_record_of_another_command_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_record, "RECORDS", tmp_path)
    kept = json.loads(RECORDS[0].read_text())
    path = keep_record.write(kept)
    assert keep_record.write({**kept, "validation": {}}) == path and json.loads(path.read_text())["validation"] == {}
    with pytest.raises(ValueError, match=rf"{path.name} is the record of another command, python .*: remove it first"):
        keep_record.write({**kept, "command": f"{kept['command']} trainer.max_steps=3"})


@pytest.mark.parametrize(
    ("override", "message"),
    [("trainer.max_steps=7", None), ("algorithm.inner_lr=1", "of experiment differ in algorithm.inner_lr=1: keep")],
)
def test_records_of_other_commands_have_no_mean(tmp_path, monkeypatch, override: str, message: str | None) -> None:
    (tmp_path / "docs/records").mkdir(parents=True)
    for seed, more in enumerate(([], [override])):
        fields = result(seed=seed, overrides=[f"seed={seed}", "experiment=experiment", *more])
        (tmp_path / f"docs/records/experiment-seed{seed}.json").write_text(json.dumps({"result": fields}))
    monkeypatch.setattr(write_tables, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        assert [len(results) for results in write_tables.read().values()] == [2]


def test_a_row_has_the_published_number_of_its_own_test() -> None:
    number = {"accuracy": 0.9855, "source": "nobody"}

    def published(*overrides: str) -> str:
        of_seed = Result.from_json(json.dumps(result(published=number, overrides=[*overrides])))
        (row,) = write_tables.rows("experiment", {"experiment": [of_seed]})
        return row.cells()[3]

    assert (published(), published("episode.test.way=5")) == ("98.55 (nobody)", "-")


def test_only_completed_runs_have_records(metalearn, tmp_path: Path) -> None:
    run = metalearn("trainer.max_steps=1")
    result = json.loads((run.folder / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps(result | {"status": "failed"}))
    with pytest.raises(ValueError, match="only completed runs have a record"):
        keep_record.record(tmp_path)


def test_what_changed_is_named() -> None:
    recorded = {"task": "a", "num_base_classes": 3, "backbone": {"pools": 4}, "data": "${paths.data}/x"}
    assert changes(recorded, {"problem": "a", "backbone": {"pools": 2}, "data": "y", "new": 1}) == [
        "backbone.pools: 4 -> 2"
    ]
