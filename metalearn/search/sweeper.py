"""hydra/sweeper=optuna: a search over hyperparameters, whose trials are the jobs of a launcher of ours."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from metalearn.run.trial import Pruner, TrialAddress
from metalearn.sweep.launcher import AbstractLauncher, JobFailed
from metalearn.sweep.settings import check_settings

if TYPE_CHECKING:  # late, because --help must not wait for it
    from metalearn.sweep.jobs import Job


@final
class OptunaSweeper(Sweeper):
    """See conf/hydra/sweeper/optuna.yaml for the arguments."""

    def __init__(
        self,
        n_trials: int,
        *,
        sampler: str,
        pruner: Pruner,
        seed: int | None,
        storage: str,
        study_name: str | None,
        params: dict[str, Any],
    ) -> None:
        self.n_trials, self.sampler, self.pruner, self.seed = n_trials, sampler, pruner, seed
        self.storage, self.study_name = storage, study_name
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search to the end. Raises ValueError for bad input, SystemExit after a signal, JobFailed when it gives up."""
        if not isinstance(self.launcher, AbstractLauncher):
            raise ValueError("hydra/sweeper=optuna runs its trials with hydra/launcher=subprocess, slurm or ray")
        check_settings(self, self.launcher.config, "hydra.sweeper")
        if isinstance(self.n_trials, bool) or self.n_trials < 1:
            raise ValueError(f"hydra.sweeper.n_trials={self.n_trials} must be a positive number")
        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise ValueError("hydra/sweeper=optuna needs Optuna: pip install -e '.[search]' in the checkout") from error
        from optuna.trial import TrialState

        from metalearn.losses import OBJECTIVES
        from metalearn.run import study_record
        from metalearn.search import loop as search
        from metalearn.search import space as search_space
        from metalearn.search.best import Findings
        from metalearn.search.preset import spelled_out
        from metalearn.search.study import open_study
        from metalearn.search.trials import Trials
        from metalearn.sweep import definition
        from metalearn.sweep.screen import Screen

        folder, slots = self.launcher.prepare()
        space, typed = search_space.read(self.params, arguments)
        fixed = spelled_out(typed, partial(self.launcher.compose, 0))
        score = OBJECTIVES[self.launcher.compose(0, fixed).problem].score_name
        definition.record(folder, [], sys.argv[1:])
        storage = self.storage if "://" in self.storage else str(Path(self.storage).absolute())
        study = open_study(
            storage,
            name=self.study_name or folder.name,
            direction="minimize" if score == "mse" else "maximize",
            space=space,
            fixed=typed,
            sampler=self.sampler,
            seed=self.seed,
        )
        study_record.write(study_record.StudyRecord(storage, study.study_name, score), folder)
        address = partial(TrialAddress, storage, study.study_name, pruner=self.pruner)
        trials = Trials(study, space=space, fixed=fixed, n_trials=self.n_trials, folder=folder, address=address)
        jobs: list[Job] = []
        screen = Screen(jobs, common=fixed)
        findings = Findings(trials, score=score, screen=screen, folder=folder, needed=self.launcher.needed())
        done = f", {trials.num_finished} finished before" if trials.num_finished else ""
        screen.say(f"{trials.n_trials} trials{done}, {slots.capacity} at a time: {folder}")
        received = search.run(
            trials,
            jobs,
            slots=slots,
            start=partial(self.launcher.start, slots),
            processes=self.launcher.processes,
            screen=screen,
            say_end=findings.say_end,
            timeout=self.launcher.timeout,
            retries=self.launcher.retries,
        )
        findings.table()
        findings.write()
        if received is not None:
            screen.say("stopped; the same command goes on")
            raise SystemExit(128 + received)
        if not trials.is_over:
            last = next(job for job in reversed(jobs) if job.status == "failed")
            raise JobFailed(f"{search.FAILURES_IN_A_ROW} trials in a row have failed: see {last.log}")
        if (failed := trials.failed()) and not trials.all(TrialState.COMPLETE):
            log = trials.folder(failed[-1]) / "stdout.log"
            raise JobFailed(f"no trial has completed, and {len(failed)} have failed: see {log}")
