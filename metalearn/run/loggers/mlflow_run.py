"""One run of MLflow for each run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import MLFlowLogger

from metalearn.files import one_at_a_time, write_text

ID = "mlflow_id"
"""File of a run directory with the id of its run."""

LONGEST = 250
"""Length from which Lightning cuts a value."""


@final
class MlflowRun(MLFlowLogger):
    """Logs a run to MLflow; jobs that start together make the database one after another.

    A resumed run is the run that it continues.

    Args:
        folder: run directory.
        tracking_uri: server or database.
        experiment_name: experiment of the run, made if absent.
        arguments: further arguments of Lightning's logger, such as run_name.

    Examples:
        >>> logger = MlflowRun("outputs/run", "http://localhost:5000", "shots")  # doctest: +SKIP
        >>> trainer = pl.Trainer(logger=logger)  # doctest: +SKIP
    """

    def __init__(self, folder: str, tracking_uri: str, experiment_name: str, **arguments: Any) -> None:
        self._folder = Path(folder)
        with _alone(tracking_uri):  # MLflow's own migration of a new database fails beside another one
            from mlflow.tracking import MlflowClient

            client = MlflowClient(tracking_uri)
            _make_experiment(client, experiment_name, arguments.get("artifact_location"))
        arguments = {"run_id": known_run(self._folder, client), **arguments}
        super().__init__(experiment_name, tracking_uri=tracking_uri, **arguments)

    @rank_zero_only
    def begin(self, config: Mapping[str, Any]) -> None:
        """Logs the config of a run.

        MLflow changes no parameter. A value that differs in a resumed run therefore becomes a tag.

        Args:
            config: flat config, without secrets.
        """
        client, run_id = self.experiment, self.run_id
        write_text(self._folder / ID, str(run_id))
        client.update_run(run_id, status="RUNNING")
        data = client.get_run(run_id).data
        values = {name: str(value)[:LONGEST] for name, value in config.items()}
        changed = {name for name, value in values.items() if name in data.tags or data.params.get(name, value) != value}
        for name in changed:
            client.set_tag(run_id, name, values[name])
        self.log_hyperparams({name: value for name, value in values.items() if name not in changed})


def known_run(folder: Path, client: Any) -> str | None:
    """Returns the id of the run of a directory; None if the server does not have the run."""
    from mlflow.exceptions import MlflowException

    if not (folder / ID).is_file():
        return None
    try:
        run = client.get_run((folder / ID).read_text())
    except MlflowException:
        return None
    return run.info.run_id if run.info.lifecycle_stage == "active" else None


@contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """Locks the file of a database; a server needs no lock."""
    dialect, _, file = tracking_uri.partition(":///")
    if not dialect.startswith("sqlite"):
        yield
        return
    path = Path(f"{file.partition('?')[0]}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(path):
        yield


def _make_experiment(client: Any, name: str, artifact_location: str | None) -> None:
    from mlflow.exceptions import MlflowException

    if client.get_experiment_by_name(name) is None:
        try:
            client.create_experiment(name, artifact_location)
        except MlflowException as error:  # another job was quicker
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
