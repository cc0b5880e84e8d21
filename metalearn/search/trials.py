"""The trials of a search: which is next, and the fate of those whose controller is gone.

A controller is a process that asks for trials and runs them. A study may have several, on several
machines: they agree by the storage alone.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from metalearn.run.trials.trial import TrialAddress, counted, directory, queue_again
from metalearn.search import space as search_space
from metalearn.search.heartbeat import HEARTBEAT, is_alive, this_process
from metalearn.search.objectives import Objective
from metalearn.search.runs import TrialRuns
from metalearn.search.samplers import Grid
from metalearn.search.space import Space
from metalearn.sweep.jobs import Job

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@final
class Trials:
    """The part that one controller has in a study.

    Args:
        study: result of study.open_study.
        space: distributions of its parameters.
        fixed: overrides of every trial.
        check: raises ValueError for the overrides of a trial that no other can be compared with.
        seeds: seeds of the runs of each trial; none for one run with the seed of the config.
        n_trials: number to finish, completed or pruned, by all controllers together.
        objectives: numbers of a run, in the order of the study.
        folder: directory of the search.
        address: gives the address of a run by the id of its trial and the runs before; None where
            runs report no validations.
    """

    def __init__(
        self,
        study: optuna.Study,
        *,
        space: Space,
        fixed: list[str],
        check: Callable[[list[str]], None],
        n_trials: int,
        objectives: Sequence[Objective],
        folder: Path,
        seeds: Sequence[int] = (),
        address: Callable[..., TrialAddress] | None,
    ) -> None:
        self.study, self._space, self.fixed, self._folder, self._check = study, space, fixed, folder, check
        self.objectives, self.seeds, self._address = list(objectives), list(seeds), address
        grid = study.sampler if isinstance(study.sampler, Grid) else None
        self._grid, self.n_trials = grid, min(n_trials, grid.size) if grid else n_trials
        self._owner = this_process()
        self._ours: dict[int, TrialRuns] = {}  # by the number of the trial
        self._beaten = self._looked = -HEARTBEAT

    def all(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    @property
    def num_to_come(self) -> int:
        """Number of trials that neither have finished nor run, here or elsewhere."""
        return max(0, self.n_trials - len(self.all(*FINISHED, TrialState.RUNNING)))

    @property
    def num_finished(self) -> int:
        return len(self.all(*FINISHED))

    def failed(self) -> list[FrozenTrial]:
        """Returns the trials whose run failed, without those that were given up or continued."""
        return [trial for trial in counted(self.all()) if trial.state == TrialState.FAIL]

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to do, now or when a trial of another controller fails."""
        if self._ours:
            return False
        drawn = self._grid_is_drawn() and not self.all(TrialState.RUNNING, TrialState.WAITING)
        return drawn or self._are_enough(*FINISHED)

    def ask(self) -> Job | None:
        """Returns a job to run, if there is one now: of a trial that has begun, or of a new one.

        Raises ValueError for a trial of other episodes, or whose directory holds something else.
        """
        for runs in self._ours.values():
            if (job := runs.next()) is not None:
                return job
        if self._are_enough(*FINISHED, TrialState.RUNNING) or (
            self._grid_is_drawn() and not self.all(TrialState.WAITING)
        ):
            return None
        number = self.study.ask(self._space).number
        trial = self.all()[number]
        if self._is_overdrawn(trial):
            self._note(trial, "given_up", True)
            self._close(number, TrialState.FAIL)
            return None
        if self._is_surplus(trial):
            self._give_back(trial)
            return None
        try:
            return self._begin(trial)
        except ValueError:
            self._give_back(trial)
            raise

    def tell(self, job: Job) -> bool:
        """Takes up the end of a job; returns whether it ends its trial.

        Any controller continues an interrupted trial. A value that is not finite fails its job.
        """
        runs = self._ours[job.number]
        runs.end()
        if runs.is_over:
            self._conclude(job.number, runs)
        return runs.is_over

    def leave(self) -> None:
        """Lets any controller continue the trials that have not ended."""
        for number, runs in list(self._ours.items()):
            self._conclude(number, runs)

    def look_after(self) -> None:
        """Reports that this controller is alive, and takes over the trials of dead ones."""
        now = time.monotonic()
        if now - self._beaten >= HEARTBEAT:
            self._beaten = now
            for trial in self.all(TrialState.RUNNING):
                if trial.number in self._ours:
                    self._note(trial, "heartbeat", time.time())
        # Sooner when this controller only waits for others.
        if now - self._looked >= (HEARTBEAT if self._ours else 1.0):
            self._looked = now
            for trial in self.all(TrialState.RUNNING):
                if trial.number not in self._ours and not is_alive(trial):
                    self._reclaim(trial)

    def folder(self, trial: FrozenTrial) -> Path:
        """Returns the directory of its runs, which continue from their last checkpoints."""
        return self._folder / directory(trial)

    def overrides(self, trial: FrozenTrial) -> list[str]:
        return [*self.fixed, *search_space.overrides(trial.params)]

    def runs(self, trial: FrozenTrial) -> TrialRuns:
        """Returns the runs of a trial, as its directory shows them."""
        folder, overrides = self.folder(trial), self.overrides(trial)
        if not self.seeds:
            return TrialRuns([Job(trial.number, overrides, folder)])
        jobs = [Job(trial.number, [*overrides, f"seed={seed}"], folder / f"seed{seed}") for seed in self.seeds]
        return TrialRuns(jobs)

    def _begin(self, trial: FrozenTrial) -> Job | None:
        """Takes a trial, and returns its first job."""
        self._note(trial, "owner", self._owner)
        self._note(trial, "heartbeat", time.time())
        folder = self.folder(trial)
        self._check(self.overrides(trial))
        if "goes_on" not in trial.user_attrs and folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} holds a run of another search: name another directory, hydra.sweep.dir=DIR")
        runs = self._ours[trial.number] = self.runs(trial)
        if self._address is not None:
            for index, job in enumerate(runs.jobs):
                earlier = [str(before.folder) for before in runs.jobs[:index]]
                job.environment = self._address(trial._trial_id, earlier=earlier).environment()
        first = runs.next()
        if first is None:  # all of its runs finished before
            self._conclude(trial.number, runs)
        return first

    def _conclude(self, number: int, runs: TrialRuns) -> None:
        """Closes a trial as its runs have ended."""
        self._ours.pop(number, None)
        verdict = runs.verdict
        if verdict == "completed":
            values = [runs.mean(objective.value) for objective in self.objectives]
            finite = [value for value in values if value is not None and math.isfinite(value)]
            if len(finite) == len(values):
                self._close(number, TrialState.COMPLETE, finite)
                return
            fault = next(aim.name for aim, value in zip(self.objectives, values, strict=True) if value not in finite)
            words = "score at meta-val" if fault in ("accuracy", "mse") else fault
            for job in runs.jobs:
                job.status, job.reason = "failed", f"its {words} is not finite"
        if verdict == "interrupted":
            trial = self.all()[number]
            self._give_back(trial, goes_on=int(directory(trial)))
        else:
            self._close(number, TrialState.PRUNED if verdict == "pruned" else TrialState.FAIL)

    def _are_enough(self, *states: TrialState) -> bool:
        """Whether so many trials are in these states, and no trial to be retried is in another."""
        others = self.all(*{TrialState.WAITING, TrialState.RUNNING}.difference(states))
        return len(self.all(*states)) >= self.n_trials and not any("retried" in t.user_attrs for t in others)

    def _grid_is_drawn(self) -> bool:
        trials = self.all()
        return self._grid is not None and self._grid.num_drawn(trials, before=len(trials)) >= self._grid.size

    def _is_overdrawn(self, trial: FrozenTrial) -> bool:
        """Returns whether another controller has the last point of the grid."""
        if self._grid is None or "fixed_params" in trial.system_attrs:
            return False
        return self._grid.num_drawn(self.all(), before=trial.number) >= self._grid.size

    def _is_surplus(self, trial: FrozenTrial) -> bool:
        """Returns whether other controllers were quicker to ask for the last trials."""
        others = [other for other in self.all(*FINISHED, TrialState.RUNNING) if other.number != trial.number]
        if "fixed_params" not in trial.system_attrs:
            # The later of two that were drawn goes; an enqueued one has its number from before.
            others = [other for other in others if other.number < trial.number]
        return len(others) >= self.n_trials and "retried" not in trial.user_attrs

    def _reclaim(self, trial: FrozenTrial) -> None:
        runs = self.runs(trial)
        if any(job.is_at_work_elsewhere() for job in runs.jobs):
            return  # it has outlived its controller, and may yet finish
        self._conclude(trial.number, runs.looked())

    def _give_back(self, trial: FrozenTrial, **notes: int) -> None:
        """Lets any controller run a trial later, with further notes."""
        self._note(trial, "given_up", True)
        if self._close(trial.number, TrialState.FAIL):
            queue_again(self.study, trial, **notes)

    def _close(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Returns False where another controller has taken this one for dead and closed it."""
        try:
            self.study.tell(number, values, state=state)
        except (ValueError, UpdateFinishedTrialError):
            if self.all()[number].state == TrialState.RUNNING:
                raise
            return False
        return True

    def _note(self, trial: FrozenTrial, name: str, value: Any) -> None:
        with suppress(UpdateFinishedTrialError):  # another controller has taken it over
            self.study._storage.set_trial_user_attr(trial._trial_id, name, value)
