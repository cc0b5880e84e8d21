"""A search from its settings to its findings."""

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from metalearn.files import one_at_a_time
from metalearn.formats import number_of
from metalearn.losses import OBJECTIVES
from metalearn.run.directory import study_record
from metalearn.run.directory.claim import LOCK
from metalearn.run.directory.keys import key, node
from metalearn.run.trials.trial import TrialAddress
from metalearn.search import space as search_space
from metalearn.search.best import Findings
from metalearn.search.meta_val import MetaVal
from metalearn.search.objectives import SCORE, objectives
from metalearn.search.preset import spelled_out
from metalearn.search.source import FAILURES_IN_A_ROW, TrialSource
from metalearn.search.study import enqueue_start, open_study, settings_of_all
from metalearn.search.trials import Trials
from metalearn.sweep import definition
from metalearn.sweep.ending import report
from metalearn.sweep.jobs import Job, JobFailed
from metalearn.sweep.launcher import AbstractLauncher, exit_if_stopped
from metalearn.sweep.screen import Screen

if TYPE_CHECKING:  # it imports this late
    from metalearn.search.sweeper import OptunaSweeper


def search(settings: "OptunaSweeper", launcher: AbstractLauncher, arguments: list[str]) -> None:
    """Searches to the end.

    Raises ValueError for bad input, SystemExit after a signal, JobFailed when it gives up.
    """
    folder, slots = launcher.prepare()
    trials = _trials(settings, launcher, arguments, folder)
    jobs: list[Job] = []
    screen = Screen(jobs, common=trials.fixed)
    findings = Findings(trials, screen=screen, folder=folder, needed=launcher.needed(), is_group=launcher.is_group)
    done = f", {trials.num_finished} finished before" if trials.num_finished else ""
    screen.say(f"{number_of(trials.n_trials, 'trial')}{done}, {slots.capacity} at a time: {folder}")
    received = launcher.run(TrialSource(trials, jobs, findings), slots, screen)
    trials.leave()
    findings.table()
    findings.write()
    exit_if_stopped(received, screen)
    screen.say(report(folder, jobs))
    _check_success(trials, jobs)


def _trials(settings: "OptunaSweeper", launcher: AbstractLauncher, arguments: list[str], folder: Path) -> Trials:
    """Opens the study of a search. Raises ValueError for settings that do not fit together."""
    space, typed = search_space.read(settings.params, arguments)
    if settings.seeds and "seed" in map(key, (*space, *typed)):
        raise ValueError(f"hydra.sweeper.seeds={settings.seeds} and seed= are both given: leave out one")
    if settings.seeds and settings.pruner != "none" and "trainer.max_steps" in map(node, space):
        raise ValueError(
            f"trainer.max_steps varies, so the seeds {settings.seeds} of two trials begin at other steps, which "
            f"hydra.sweeper.pruner={settings.pruner} would compare: give hydra.sweeper.pruner=none"
        )
    compose = partial(launcher.compose, 0)
    fixed = spelled_out(typed, compose)
    meta_val, config = MetaVal(compose, space, fixed), compose(fixed)
    if config.mode == "test":
        raise ValueError("mode=test has no validation, on which a search chooses: leave it out")
    if config.train_split is not None:
        raise ValueError(
            f"train_split={config.train_split} leaves no meta-val, on which a search chooses: leave it out"
        )
    aims = objectives(settings.objectives, OBJECTIVES[config.problem].score_name)
    definition.record(folder, [], sys.argv[1:])
    storage = settings.storage
    storage = storage if "://" in storage else str(Path(storage).expanduser().absolute())
    with one_at_a_time(folder / LOCK):  # controllers that begin together queue one start
        study = open_study(
            storage,
            name=settings.study_name or _recorded_name(folder) or folder.name,
            objectives=aims,
            space=space,
            fixed=typed,
            composed=settings_of_all(config, space),
            seeds=settings.seeds,
            sampler=settings.sampler,
            seed=settings.seed,
        )
        enqueue_start(study, settings.start, space)
    study_record.write(study_record.StudyRecord(storage, study.study_name, aims[0].name), folder)
    address = partial(TrialAddress, storage, study.study_name, pruner=settings.pruner)
    return Trials(
        study,
        space=space,
        fixed=fixed,
        check=meta_val.check,
        n_trials=settings.n_trials,
        objectives=aims,
        folder=folder,
        seeds=settings.seeds,
        address=address if settings.objectives == [SCORE] else None,  # a validation has the score alone
    )


def _recorded_name(folder: Path) -> str | None:
    """Returns the name of the study of a folder, which may have had another name itself."""
    with suppress(OSError, ValueError):
        return study_record.read(folder).study
    return None


def _check_success(trials: Trials, jobs: list[Job]) -> None:
    """Raises JobFailed where the search gave up, or where all trials failed."""
    if not trials.is_over:
        last = next(job for job in reversed(jobs) if job.status == "failed")
        raise JobFailed(f"{FAILURES_IN_A_ROW} trials in a row have failed: see {last.log}")
    if (failed := trials.failed()) and not trials.all(TrialState.COMPLETE):
        log = trials.runs(failed[-1]).looked().first_incomplete.log
        raise JobFailed(f"no trial has completed, and {len(failed)} have failed: see {log}")
