"""The trial of a search that a run belongs to, and the storage of its study."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from metalearn.formats import first_line

if TYPE_CHECKING:  # an extra that is slow to import
    import optuna

VARIABLE = "METALEARN_TRIAL"
Pruner = Literal["none", "median", "hyperband"]


@dataclass(frozen=True)
class TrialAddress:
    """The address of a run's trial; the environment carries it."""

    storage: str
    study: str
    trial_id: int
    pruner: Pruner
    earlier: Sequence[str] = ()  # directories of its runs that have completed

    def environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Self | None:
        text = os.environ.get(VARIABLE)
        return cls(**json.loads(text)) if text else None


def directory(trial: "optuna.trial.FrozenTrial") -> str:
    """Returns the name of its run directory; a continued trial keeps the first one's directory."""
    return f"{trial.user_attrs.get('goes_on', trial.number):04d}"


def counted(trials: "Iterable[optuna.trial.FrozenTrial]") -> "list[optuna.trial.FrozenTrial]":
    """Returns the trials that were not given up, the last one of each directory.

    A trial is given up when another replaces it with its parameters. The trials are in the order of
    their directories, in which they began: the first of equal ones is the best, in best.yaml as in
    a report.
    """
    last = {directory(trial): trial for trial in sorted(trials, key=lambda trial: trial.number)}
    return [trial for trial in last.values() if not trial.user_attrs.get("given_up")]


def queue_again(study: "optuna.Study", trial: "optuna.trial.FrozenTrial", **notes: int) -> None:
    """Queues a trial with the parameters of one that has ended, and its notes.

    `goes_on` is the number of the directory in which it continues; `retried` says that a person
    asked for it, whatever the number of trials.
    """
    kept = {name: trial.user_attrs[name] for name in ("goes_on", "retried") if name in trial.user_attrs}
    study.enqueue_trial(trial.params, user_attrs=kept | notes)


def open_storage(storage: str) -> "optuna.storages.BaseStorage":
    """Opens a journal file, or the database of a URL. Raises ValueError if that fails."""
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy import event
    from sqlalchemy.exc import SQLAlchemyError

    from metalearn.run.trials.journal import open_journal

    if "://" not in storage:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return open_journal(Path(storage))
    try:
        if not storage.startswith("sqlite"):
            return get_storage(storage)
        database = RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": 60}})
    except (SQLAlchemyError, ImportError) as error:
        # The message leaves out the URL, which may hold a password.
        kind = storage.partition(":")[0]
        raise ValueError(f"the study's {kind} storage cannot be opened: {first_line(error)}") from error
    # SQLite lacks SELECT FOR UPDATE. Without a lock two controllers would take one trial.
    event.listen(database.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return get_storage(database)
