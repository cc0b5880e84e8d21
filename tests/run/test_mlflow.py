"""Runs in MLflow, read back."""

import multiprocessing
import shutil
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Finished, composed
from hydra.utils import instantiate
from omegaconf import DictConfig

pytest.importorskip("mlflow")

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST
from mlflow.tracking import MlflowClient

from metalearn.run.loggers.mlflow_run import known_run

fork = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def finished(metalearn, environment: dict[str, str], uri: str) -> Finished:
    done = metalearn("logger=mlflow", environment={**environment, "MLFLOW_TRACKING_URI": uri})
    assert done.code == 0, done.text
    return done


def read(uri: str) -> Run:
    """Returns the only run of a database."""
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("metalearn").experiment_id])
    return run


def test_mlflow_has_curves_and_result(finished: Finished, uri: str) -> None:
    run = read(uri)
    assert run.info.run_name == "prototypical-glyphs-5w1s-conv4-s0"
    assert run.info.status == "FINISHED"
    assert (run.data.params["choice/algorithm"], run.data.params["seed"]) == ("prototypical", "0")
    assert run.data.params["git"] == str(finished.result["git"])
    assert run.data.metrics["best_step"] == finished.result["best_step"]
    assert run.data.tags["status"] == "completed"
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "val/accuracy")
    assert [metric.step for metric in history] == [4, 8, 10]


def test_a_resumed_run_is_the_same_run(
    metalearn, environment: dict[str, str], finished: Finished, uri: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.copy(uri.removeprefix("sqlite:///"), tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    first = read(uri)
    for steps, every in (("12", "2"), ("14", "1")):  # 1 is the value of the first session again
        command = [f"resume={folder}", f"trainer.max_steps={steps}", f"trainer.log_every_n_steps={every}"]
        resumed = metalearn(*command, folder=folder, environment={**environment, "MLFLOW_TRACKING_URI": uri})
        assert resumed.code == 0, resumed.text
        run = read(uri)
        assert run.info.run_id == first.info.run_id == (folder / "mlflow_id").read_text()
        assert run.info.status == "FINISHED"
        assert run.data.params == first.data.params  # MLflow changes none
        tags = run.data.tags
        assert (tags["trainer/max_steps"], tags["trainer/log_every_n_steps"]) == (steps, every)
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "selected/test_accuracy")
    assert [metric.step for metric in history] == [10, 12, 14]


def absent(run_id: str) -> None:
    raise MlflowException(f"there is no run {run_id}", RESOURCE_DOES_NOT_EXIST)


def deleted(run_id: str) -> SimpleNamespace:
    return SimpleNamespace(info=SimpleNamespace(run_id=run_id, lifecycle_stage="deleted"))


@pytest.mark.parametrize("get_run", [absent, deleted])
def test_a_resumed_run_that_the_server_lacks_is_a_new_run(get_run: Any, tmp_path: Path) -> None:
    (tmp_path / "mlflow_id").write_text("of another server")
    assert known_run(tmp_path, SimpleNamespace(get_run=get_run)) is None


def begin(config: DictConfig, barrier: Barrier) -> None:
    barrier.wait(timeout=60)
    assert instantiate(config).experiment_id


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_jobs_that_start_together_share_a_new_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    config = composed("logger=mlflow", f"logger.mlflow.tracking_uri={uri}").logger.mlflow
    barrier = fork.Barrier(2)
    jobs = [fork.Process(target=begin, args=(config, barrier)) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    (experiment,) = MlflowClient(uri).search_experiments(filter_string="name = 'metalearn'")
    assert len(MlflowClient(uri).search_runs([experiment.experiment_id])) == 2


def test_a_server_needs_no_lock_and_an_experiment_of_another_job_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instantiates the logger; another job makes the experiment between two calls of the server."""

    class Server:
        def __init__(self, uri: str) -> None:
            assert uri == "http://127.0.0.1:9"

        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str, artifact_location: str | None) -> str:
            raise MlflowException("it exists", RESOURCE_ALREADY_EXISTS)

    monkeypatch.setattr("mlflow.tracking.MlflowClient", Server)
    monkeypatch.chdir(tmp_path)
    instantiate(composed("logger=mlflow", "logger.mlflow.tracking_uri=http://127.0.0.1:9").logger.mlflow)
    assert list(tmp_path.iterdir()) == []
