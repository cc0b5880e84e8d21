"""Logs of W&B, TensorBoard and Comet, read back; test_run covers metrics.csv."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import composed, composed_at_once
from lightning.pytorch.loggers import CometLogger, Logger
from run_folders import result, runs
from wandb_files import read, wandb_run

from metalearn.run.directory.folder import RunFolder
from metalearn.run.loggers import every_logger
from metalearn.run.loggers.metrics import MetricsFile
from metalearn.run.loggers.run_name import run_name, sweep_of
from metalearn.run.loggers.wandb_run import WandbRun

WANDB = ["logger=wandb", "logger.wandb.log_model=true", "logger.wandb.notes=of a test", "logger.wandb.entity=team"]


@pytest.fixture(scope="module")
def folder(metalearn, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with W&B, without an API key, and with a secret in the config."""
    folder = tmp_path_factory.mktemp("wandb")
    secret = ["+vars.api_token=${oc.env:PLANTED}"]
    # The environment has neither key nor mode, and HOME has no .netrc, so the run must choose
    # offline mode itself.
    env = {k: v for k, v in environment.items() if k != "WANDB_MODE"}
    env |= {"PLANTED": "hunter2hunter2", "HOME": str(folder), "NETRC": str(folder / "none"), "WANDB_TAGS": "mine"}
    done = metalearn(*WANDB, *secret, folder=folder, environment=env)
    assert done.code == 0, done.text
    assert "WARNING" not in done.text
    (place,) = (folder / "wandb").glob("offline-run-*")
    assert f"wandb sync {place}" in "".join(done.text.split("\n"))
    return folder


def test_wandb_has_one_run_that_says_what_it_is(folder: Path) -> None:
    run = wandb_run(folder)
    assert run["run_id"] == (folder / "wandb_id").read_text()
    assert run["display_name"] == "prototypical-glyphs-5w1s-conv4-s0"
    assert (run["job_type"], run["exit_code"], run["entity"], run["notes"]) == ("prototypical", 0, "team", "of a test")
    assert sorted(run["tags"]) == ["conv4", "glyphs", "mine"]
    logged = {key for row in run["history"] for key in row}
    assert {"train/loss", "train/accuracy", "val/accuracy", "test/accuracy"} <= logged
    assert sum("val/accuracy" in row for row in run["history"]) == 3
    (media,) = (json.dumps(row) for row in run["history"] if any("test/episode" in key for key in row))
    assert "image-file" in media or "images/separated" in media
    assert len(list((folder / "wandb").rglob("media/images/test/episode*.png"))) == 3
    (table,) = (folder / "wandb").rglob("media/table/test/confusion*.json")
    columns = json.loads(table.read_text())["columns"]
    assert columns[1].startswith("answered 0 ")
    assert len(columns) == 6


def test_wandb_config_says_what_was_chosen_and_nothing_of_the_machine(folder: Path) -> None:
    config, result = wandb_run(folder)["config"], json.loads((folder / "result.json").read_text())
    assert config["choice"]["algorithm"] == "prototypical"
    assert (config["choice"]["dataset"], config["choice"]["optimizer"]) == ("glyphs", "adam")
    assert config["episode"]["test"]["num_episodes"] == 7
    assert (config["git"], config["num_parameters"]) == (result["git"], result["num_parameters"])
    assert config["versions"] == result["versions"]
    assert "published" in config
    assert not {"callbacks", "logger", "paths"} & set(config)
    assert "backbone" not in config["algorithm"]


def test_wandb_curves_stand_over_episodes_and_rank_by_the_selected_score(folder: Path) -> None:
    run, result = wandb_run(folder), json.loads((folder / "result.json").read_text())
    assert run["metrics"]["*"].step_metric == "episodes"
    assert run["metrics"]["val/accuracy"].summary.max
    assert run["metrics"]["val/loss"].summary.min
    validated = [row for row in run["history"] if "val/accuracy" in row]
    assert [row["episodes"] for row in validated] == [4, 8, 10]
    best = max(row["val/accuracy"] for row in validated)
    assert run["summary"]["selected/val_accuracy"] == pytest.approx(best)
    assert run["history"][-1]["selected/val_accuracy"] == pytest.approx(best)
    assert run["summary"]["best_step"] == result["best_step"]
    assert run["summary"]["status"] == "completed"
    assert run["summary"]["selected/test_episodes_sha256"] == result["test"]["episodes_sha256"]
    assert run["summary"]["seconds_fit"] == pytest.approx(result["seconds"]["fit"])


def test_wandb_curves_of_a_training_on_batches_stand_over_images(metalearn) -> None:
    short = ("trainer.max_steps=4", "trainer.accumulate_grad_batches=2", "tasks_per_batch=3", "batch_size=16")
    done = metalearn("logger=wandb", "logger.wandb.offline=true", "algorithm=baseline", *short)
    assert done.code == 0, done.text
    run = wandb_run(done.folder)
    assert run["metrics"]["*"].step_metric == "images"
    trained = [row for row in run["history"] if "train/loss" in row]
    assert [(row["images"], row["trainer/global_step"]) for row in trained] == [(96, 1), (192, 2), (288, 3), (384, 4)]
    assert not any("episodes" in row for row in run["history"])


def test_wandb_curves_of_a_resumption_with_more_tasks_stand_over_the_episodes_seen(metalearn) -> None:
    offline = ("logger=wandb", "logger.wandb.offline=true")
    begun = metalearn(*offline, "trainer.max_steps=2", "tasks_per_batch=1")
    assert begun.code == 0, begun.text
    done = metalearn(f"resume={begun.folder}", "trainer.max_steps=4", "tasks_per_batch=3")
    assert done.code == 0, done.text
    assert "training episodes 8" in " ".join(done.text.split())
    *_, resumed = sorted(begun.folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)
    validated = [row for row in read(resumed)["history"] if "val/accuracy" in row]
    assert [row["episodes"] for row in validated][-1] == 8  # 2 steps of 1 task, 2 of 3


def test_the_best_checkpoint_is_an_artifact_by_a_switch(folder: Path) -> None:
    (artifact,) = (logged for logged in wandb_run(folder)["artifacts"] if logged.type == "model")
    assert [entry.path for entry in artifact.manifest.contents] == ["best.ckpt"]
    assert set(artifact.aliases) == {"best", "latest"}
    metadata = json.loads(artifact.metadata)
    assert metadata["best_step"] == json.loads((folder / "result.json").read_text())["best_step"]
    assert len(metadata["sha256"]) == 64


def test_no_file_of_a_run_holds_a_secret(folder: Path) -> None:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert len(paths) > 8
    assert not [path for path in paths if b"hunter2" in path.read_bytes()]
    assert wandb_run(folder)["config"]["vars"]["api_token"] == "***"


def test_a_failed_run_of_an_agent_has_its_id_and_is_not_shown_as_finished(
    metalearn, environment: dict[str, str], tmp_path: Path
) -> None:
    of_agent = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "chosen1"}
    done = metalearn("logger=wandb", "optimizer.lr=1e30", folder=tmp_path, environment=environment | of_agent)
    run = wandb_run(tmp_path)
    assert done.code == run["exit_code"] == 1
    assert run["summary"]["status"] == "failed"
    assert run["run_id"] == (tmp_path / "wandb_id").read_text() == "chosen1"


ARGUMENTS = {
    "name": "n",
    "project": "p",
    "entity": None,
    "group": None,
    "job_type": "maml",
    "tags": [],
    "notes": None,
    "log_model": False,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offline": False}, "^WANDB_MODE=online needs an API key: set WANDB_API_KEY"),
        ({"offline": True, "savecode": 1}, r"^logger.wandb.savecode: wandb.init has .*'save_code'\?$"),
        ({"offline": True, "id": "1"}, "^logger.wandb.id is given by the run itself: remove it$"),
    ],
)
def test_wandb_refuses(changes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(ValueError, match=message):
        WandbRun(str(tmp_path), **{**ARGUMENTS, **changes})


def test_tensorboard_has_curves_and_result(metalearn) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    finished = metalearn("logger=tensorboard")
    assert finished.code == 0, finished.text
    (events,) = finished.folder.glob("tensorboard/*")
    assert events.name == "prototypical-glyphs-5w1s-conv4-s0"
    read = accumulator.EventAccumulator(str(events)).Reload()
    assert [scalar.step for scalar in read.Scalars("val/accuracy")] == [4, 8, 10]
    (best,) = read.Scalars("best_step")
    assert best.value == finished.result["best_step"]
    assert "choice" in (events / "hparams.yaml").read_text()
    assert (finished.folder / "metrics.csv").is_file()


def test_a_job_of_a_sweep_is_grouped_and_named_by_what_varies(tmp_path: Path) -> None:
    folder = tmp_path / "shots" / "3"
    folder.mkdir(parents=True)
    own = ["algorithm=maml", "optimizer.lr=0.5", "tasks_per_batch=4", "seed=2", "paths.data=a/b"]
    own += ["+trainer.benchmark=False", "+vars.key=${oc.env:HOME}"]  # as Hydra writes the values of a job
    config = composed_at_once(*own, f"hydra.runtime.output_dir={folder}")
    assert sweep_of(folder) is None
    assert run_name(config) == "maml-glyphs-5w1s-conv4-s2"
    command = ["algorithm=anil,maml", "optimizer.lr=0.1,0.5", "seed=2,3", "tasks_per_batch=4", "paths.data=a/b,c"]
    command += ["+trainer.benchmark=false", "+vars.key=${oc.env:HOME}"]
    (tmp_path / "shots" / "sweep.json").write_text(
        json.dumps({"command": command, "typed": [], "cwd": "/", "jobs": {}})
    )
    assert sweep_of(folder) == "shots"
    assert (name := run_name(config)) == "maml-glyphs-5w1s-conv4-s2 optimizer.lr=0.5 paths.data=a_b"
    resumed = run_name(composed_at_once(*own, f"resume={folder}", f"hydra.runtime.output_dir={folder}"))
    assert resumed == name, "its curves would be in two folders of TensorBoard"
    long = [f"+vars.x='{'é' * 150}{end}'" for end in "ab"]
    names = {run_name(composed_at_once(*own, typed, f"hydra.runtime.output_dir={folder}")) for typed in long}
    assert len(names) == 2 and all(190 < len(name.encode()) <= 200 for name in names)


def test_comet_gets_what_its_config_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instantiates the logger of the config; Comet itself is a recorder."""
    from hydra.utils import instantiate
    from lightning.pytorch.loggers import comet

    given: dict[str, Any] = {}
    recorder = SimpleNamespace(ExperimentConfig=lambda **kwargs: kwargs, start=lambda **kwargs: given.update(kwargs))
    monkeypatch.setitem(sys.modules, "comet_ml", recorder)
    monkeypatch.setattr(comet, "_COMET_AVAILABLE", True)
    monkeypatch.setattr(comet.CometLogger, "_create_experiment", lambda self: given.update(vars(self)))
    config = composed("logger=comet", f"hydra.runtime.output_dir={tmp_path}")
    instantiate(config.logger.comet)
    assert given["_project_name"] == "metalearn"
    assert given["_comet_config"] == {
        "name": "prototypical-glyphs-5w1s-conv4-s0",
        "offline_directory": f"{tmp_path}/comet",
    }


def test_comet_gets_the_result_and_is_closed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []
    experiment = SimpleNamespace(
        log_metrics=lambda numbers: calls.append(("metrics", numbers)),
        log_others=lambda facts: calls.append(("others", facts)),
        end=lambda: calls.append(("end", None)),
        get_key=lambda: "key",
    )
    logger = CometLogger.__new__(CometLogger)
    logger._experiment = experiment
    (run,) = runs(result(0.9, best_step=40))
    every_logger.end([logger], run.result, RunFolder(tmp_path), exit_code=0)
    assert [name for name, _ in calls] == ["metrics", "others", "end"]
    assert calls[0][1]["best_step"] == 40 and calls[0][1]["selected/test_accuracy"] == 0.9
    assert calls[1][1]["status"] == "completed"
    assert "Comet: experiment key" in capsys.readouterr().out


class OwnLogger(Logger):
    """Logger that metalearn does not know; it keeps its calls."""

    name = version = ""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def log_hyperparams(self, params: Any) -> None:
        self.calls.append(("hyperparams", params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.calls.append(("metrics", metrics, step))

    def finalize(self, status: str) -> None:
        self.calls.append(("finalize", status))


@pytest.mark.parametrize(("exit_code", "status"), [(0, "success"), (1, "failed")])
def test_any_logger_of_lightning_gets_the_result(exit_code: int, status: str, tmp_path: Path) -> None:
    own, metrics_file = OwnLogger(), MetricsFile(str(tmp_path))
    (run,) = runs(result(0.9, steps=40))
    every_logger.end([metrics_file, own], run.result, RunFolder(tmp_path), exit_code)
    (_, metrics, step), ended = own.calls
    assert (metrics["selected/test_accuracy"], step) == (0.9, 40)
    assert ended == ("finalize", status)
    assert not metrics_file.path.exists()
