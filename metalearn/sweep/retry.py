"""Failed jobs set back to the state before their last attempt, with their checkpoints."""

from pathlib import Path

from metalearn.run.directory import study_record
from metalearn.run.directory.folder import RunFolder
from metalearn.run.trials.trial import counted, directory, open_storage, queue_again
from metalearn.sweep import submitted
from metalearn.sweep.standing import Standing, read

ASIDE = "stdout.failed.log"
"""Name under which the output of a failed attempt is kept."""


def clear_failed(sweep: Path) -> list[Standing]:
    """Sets back each failed job of a sweep; the failed trials of a search are queued again."""
    failed = [standing for standing in read(sweep) if standing.state == "failed"]
    for standing in failed:
        RunFolder(standing.job.folder).result.unlink(missing_ok=True)
        submitted.forget(standing.job.folder)
        if standing.job.log.is_file():
            standing.job.log.replace(standing.job.folder / ASIDE)
    if (sweep / study_record.NAME).is_file():
        _queue_trials(sweep)
    return failed


def _queue_trials(sweep: Path) -> None:
    """Queues the failed trials of the study, in their directories."""
    import optuna
    from optuna.trial import TrialState

    record = study_record.read(sweep)
    study = optuna.load_study(study_name=record.study, storage=open_storage(record.storage))
    for trial in counted(study.get_trials(deepcopy=False)):
        if trial.state == TrialState.FAIL:
            queue_again(study, trial, goes_on=int(directory(trial)), retried=True)
