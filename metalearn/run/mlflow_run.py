"""One run of MLflow for each run."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

from lightning.pytorch.loggers import MLFlowLogger


@final
class MlflowRun(MLFlowLogger):
    """Logs a run to MLflow; jobs that start together make the database one after another.

    Args:
        tracking_uri: server or database.
        experiment_name: experiment of the run, made if absent.
        arguments: further arguments of Lightning's logger, such as run_name.

    Examples:
        >>> logger = MlflowRun("http://localhost:5000", "my-project")  # doctest: +SKIP
        >>> trainer = pl.Trainer(logger=logger)  # doctest: +SKIP
    """

    def __init__(self, tracking_uri: str, experiment_name: str, **arguments: Any) -> None:
        with _alone(tracking_uri):  # MLflow's own migration of a new database fails beside another one
            super().__init__(experiment_name, tracking_uri=tracking_uri, **arguments)
            _make_experiment(tracking_uri, experiment_name, arguments.get("artifact_location"))


@contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """Locks the file of a database; a server needs no lock."""
    dialect, _, file = tracking_uri.partition(":///")
    if not dialect.startswith("sqlite"):
        yield
        return
    path = Path(f"{file.partition('?')[0]}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_experiment(tracking_uri: str, name: str, artifact_location: str | None) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri)
    if client.get_experiment_by_name(name) is None:
        try:
            client.create_experiment(name, artifact_location)
        except MlflowException as error:  # another job was quicker
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
