"""`metalearn.report --wandb` and the recipe of a W&B report, read back from files."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from run_folders import sweep
from wandb_files import wandb_run

from metalearn.report.comparing.contents import read as read_runs
from metalearn.report.to_wandb import log
from metalearn.run.loggers.wandb_run import place_of

wandb = pytest.importorskip("wandb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes a sweep of eight jobs, and logs its report offline."""
    folder = tmp_path_factory.mktemp("wandb") / "shots"
    sweep(folder, {"maml": 0.9, "prototypical": 0.95}, seeds=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        said = log(read_runs([folder]), folder, "few-shot")
        wandb.teardown()  # waits for W&B's process, which writes the file
    (place,) = (folder / "wandb").glob("offline-run-*")
    assert said == f"W&B: offline; to upload: wandb sync {place}"
    return folder


def test_all_parts_of_a_resumed_run_are_uploaded(tmp_path: Path) -> None:
    parts = [tmp_path / f"wandb/offline-run-2026110{day}-abcd" for day in (1, 2)]
    for part in (*parts, tmp_path / "wandb/offline-run-20261103-other"):
        (part / "files").mkdir(parents=True)
    run = SimpleNamespace(offline=True, id="abcd", dir=str(parts[1] / "files"))
    assert place_of(run) == f"W&B: offline; to upload: wandb sync {parts[0]} {parts[1]}"


def test_the_report_of_a_sweep_is_one_run_of_its_group(folder: Path) -> None:
    run = wandb_run(folder)
    assert (run["project"], run["run_group"], run["job_type"]) == ("few-shot", "shots", "report")
    assert run["display_name"] == "report shots"
    assert run["exit_code"] == 0
    logged = {key.partition("/")[0] for key in run["history"][0]}
    assert {"comparison", "methods", "report"} <= logged


def test_the_comparison_has_a_row_for_each_job(folder: Path) -> None:
    (path,) = folder.glob("wandb/offline-run-*/files/media/table/comparison*.json")
    table = json.loads(path.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == 8
    for row in rows:
        result = json.loads((folder / row["run"] / "result.json").read_text())
        assert (row["algorithm"], row["seed"]) == (result["algorithm"], result["seed"])
        assert row["test"] == pytest.approx(result["test"]["accuracy"]["mean"])
        assert (row["status"], row["measure"], row["seconds_fit"]) == ("completed", "accuracy", 60.0)


def test_the_recipe_shows_what_runs_log() -> None:
    pytest.importorskip("wandb_workspaces")
    import wandb_report

    # Without an entity, W&B's package asks no server for the id of the project.
    text = wandb_report.build("", "few-shot", "shots")._to_model().model_dump_json()
    steps = "trainer/global_step"
    for name in ("selected/test_accuracy", "val/accuracy", steps, "choice.value.algorithm", "comparison", "shots"):
        assert name in text, name
