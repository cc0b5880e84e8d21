"""Runs in MLflow, read back."""

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from conftest import composed
from hydra.utils import instantiate
from omegaconf import DictConfig

pytest.importorskip("mlflow")

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS
from mlflow.tracking import MlflowClient

fork = multiprocessing.get_context("fork")


def test_mlflow_has_curves_and_result(metalearn, environment: dict[str, str], tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    finished = metalearn("logger=mlflow", environment={**environment, "MLFLOW_TRACKING_URI": uri})
    assert finished.code == 0, finished.text
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("metalearn").experiment_id])
    assert run.info.run_name == "prototypical-glyphs-5w1s-conv4-s0"
    assert run.info.status == "FINISHED"
    assert (run.data.params["choice/algorithm"], run.data.params["seed"]) == ("prototypical", "0")
    assert run.data.params["git"] == str(finished.result["git"])
    assert run.data.metrics["best_step"] == finished.result["best_step"]
    assert run.data.tags["status"] == "completed"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "val/accuracy")] == [4, 8, 10]


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
