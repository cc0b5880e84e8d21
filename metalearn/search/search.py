"""A search from its settings to its findings."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from metalearn.losses import OBJECTIVES
from metalearn.run import study_record
from metalearn.run.trial import TrialAddress
from metalearn.search import space as search_space
from metalearn.search.best import Findings
from metalearn.search.preset import spelled_out
from metalearn.search.source import FAILURES_IN_A_ROW, TrialSource
from metalearn.search.study import open_study
from metalearn.search.trials import Trials
from metalearn.sweep import definition
from metalearn.sweep.jobs import Job
from metalearn.sweep.launcher import AbstractLauncher, JobFailed, exit_if_stopped
from metalearn.sweep.screen import Screen

if TYPE_CHECKING:  # it imports this late
    from metalearn.search.sweeper import OptunaSweeper


def search(settings: "OptunaSweeper", launcher: AbstractLauncher, arguments: list[str]) -> None:
    """Search to the end. Raises ValueError for bad input, SystemExit after a signal, JobFailed when it gives up."""
    folder, slots = launcher.prepare()
    space, typed = search_space.read(settings.params, arguments)
    fixed = spelled_out(typed, partial(launcher.compose, 0))
    score = OBJECTIVES[launcher.compose(0, fixed).problem].score_name
    definition.record(folder, [], sys.argv[1:])
    storage = settings.storage if "://" in settings.storage else str(Path(settings.storage).absolute())
    study = open_study(
        storage,
        name=settings.study_name or folder.name,
        direction="minimize" if score == "mse" else "maximize",
        space=space,
        fixed=typed,
        sampler=settings.sampler,
        seed=settings.seed,
    )
    study_record.write(study_record.StudyRecord(storage, study.study_name, score), folder)
    address = partial(TrialAddress, storage, study.study_name, pruner=settings.pruner)
    trials = Trials(study, space=space, fixed=fixed, n_trials=settings.n_trials, folder=folder, address=address)
    jobs: list[Job] = []
    screen = Screen(jobs, common=fixed)
    findings = Findings(trials, score=score, screen=screen, folder=folder, needed=launcher.needed())
    done = f", {trials.num_finished} finished before" if trials.num_finished else ""
    screen.say(f"{trials.n_trials} trials{done}, {slots.capacity} at a time: {folder}")
    received = launcher.run(TrialSource(trials, jobs, findings), slots, screen)
    trials.leave()
    findings.table()
    findings.write()
    exit_if_stopped(received, screen)
    _check_success(trials, jobs)


def _check_success(trials: Trials, jobs: list[Job]) -> None:
    """Raises JobFailed where the search gave up, or has nothing but failures."""
    if not trials.is_over:
        last = next(job for job in reversed(jobs) if job.status == "failed")
        raise JobFailed(f"{FAILURES_IN_A_ROW} trials in a row have failed: see {last.log}")
    if (failed := trials.failed()) and not trials.all(TrialState.COMPLETE):
        log = trials.folder(failed[-1]) / "stdout.log"
        raise JobFailed(f"no trial has completed, and {len(failed)} have failed: see {log}")
