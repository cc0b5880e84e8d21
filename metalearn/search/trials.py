"""The trials of a search: which is next, and what becomes of those whose controller is gone.

A controller is a process that asks for trials and runs them. A study may have several, on several machines: what they
agree on is in the storage alone.
"""

import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from metalearn.run.trial import TrialAddress, counted, directory
from metalearn.search import space as search_space
from metalearn.search.samplers import Grid
from metalearn.search.space import Space
from metalearn.sweep.jobs import Job

HEARTBEAT = 30.0  # seconds; Optuna's own beats within study.optimize alone, and has no place in a journal
DEAD = 300.0
"""Seconds without a heartbeat after which a controller is taken for dead. One of this machine is known at once."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@final
class Trials:
    """What one controller does with a study.

    Args:
        study: of study.open_study.
        space: of its parameters.
        fixed: the overrides of every trial.
        n_trials: how many are to be finished, completed or pruned, by all controllers together.
        folder: of the search.
        address: of the trial with an id, for its run.
    """

    def __init__(
        self,
        study: optuna.Study,
        *,
        space: Space,
        fixed: list[str],
        n_trials: int,
        folder: Path,
        address: Callable[[int], TrialAddress],
    ) -> None:
        self.study, self._space, self._fixed, self._folder = study, space, fixed, folder
        self._address = address
        grid = study.sampler if isinstance(study.sampler, Grid) else None
        self._grid, self.n_trials = grid, min(n_trials, grid.size) if grid else n_trials
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._ours: dict[int, Job] = {}  # by the number of the trial
        self._beaten = self._looked = -HEARTBEAT

    def all(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    @property
    def num_finished(self) -> int:
        return len(self.all(*FINISHED))

    @property
    def num_known(self) -> int:
        """Finished or running, here or elsewhere."""
        return len(self.all(*FINISHED, TrialState.RUNNING))

    def failed(self) -> list[FrozenTrial]:
        """Those whose run has failed: not those that were given up or gone on with."""
        return [trial for trial in counted(self.all()) if trial.state == TrialState.FAIL]

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to do, now or when a trial of another controller fails."""
        if self._ours:
            return False
        if self.num_finished >= self.n_trials:
            return True
        return self._grid_is_drawn() and not self.all(TrialState.RUNNING, TrialState.WAITING)

    def ask(self) -> Job | None:
        """A trial to run, if there is one now. Raises ValueError when its directory holds something else."""
        if self.num_known >= self.n_trials:
            return None
        if self._grid_is_drawn() and not self.all(TrialState.WAITING):
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
        self._note(trial, "owner", self._owner)
        self._note(trial, "heartbeat", time.time())
        job = self._job(trial)
        if "goes_on" not in trial.user_attrs and job.folder.exists() and any(job.folder.iterdir()):
            self._give_back(trial)
            raise ValueError(f"{job.folder} holds a run of another search: name another directory, hydra.sweep.dir=DIR")
        job.environment = self._address(trial._trial_id).environment()
        self._ours[number] = job
        return job

    def tell(self, job: Job) -> None:
        """What has become of the job of a trial; one that was interrupted is to be gone on with.

        A job that is completed with a score that is not finite is failed from then on.
        """
        self._ours.pop(job.number, None)
        val = job.score("val") if job.finished else None
        if job.status == "completed" and val is not None and math.isfinite(val.estimate.mean):
            self._close(job.number, TrialState.COMPLETE, [val.estimate.mean])
        elif job.status == "completed":
            job.status, job.reason = "failed", "its score at meta-val is not finite"
            self._close(job.number, TrialState.FAIL)
        elif job.status == "pruned":
            self._close(job.number, TrialState.PRUNED)
        elif job.status == "failed" or ((result := job.result()) is not None and result.status == "failed"):
            self._close(job.number, TrialState.FAIL)
        else:
            self._hand_over(job)

    def leave(self) -> None:
        """Let any controller continue what this one was told nothing of."""
        for job in list(self._ours.values()):
            self.tell(job)

    def look_after(self) -> None:
        """Say that we are alive, and take over what controllers have left that are not."""
        now = time.monotonic()
        if now - self._beaten >= HEARTBEAT:
            self._beaten = now
            for trial in self.all(TrialState.RUNNING):
                if trial.number in self._ours:
                    self._note(trial, "heartbeat", time.time())
        # Sooner when there is nothing to do but to wait for others.
        if now - self._looked >= (HEARTBEAT if self._ours else 1.0):
            self._looked = now
            for trial in self.all(TrialState.RUNNING):
                if trial.number not in self._ours and not _is_alive(trial):
                    self._reclaim(trial)

    def folder(self, trial: FrozenTrial) -> Path:
        """Of its run, which goes on from its last checkpoint."""
        return self._folder / directory(trial)

    def overrides(self, trial: FrozenTrial) -> list[str]:
        return [*self._fixed, *search_space.overrides(trial.params)]

    def _job(self, trial: FrozenTrial) -> Job:
        return Job(trial.number, self.overrides(trial), self.folder(trial))

    def _grid_is_drawn(self) -> bool:
        trials = self.all()
        return self._grid is not None and self._grid.num_drawn(trials, before=len(trials)) >= self._grid.size

    def _is_overdrawn(self, trial: FrozenTrial) -> bool:
        """Whether another controller has the last point of the grid."""
        if self._grid is None or "fixed_params" in trial.system_attrs:
            return False
        return self._grid.num_drawn(self.all(), before=trial.number) >= self._grid.size

    def _is_surplus(self, trial: FrozenTrial) -> bool:
        """Whether other controllers were quicker to ask for the last ones."""
        others = [other for other in self.all(*FINISHED, TrialState.RUNNING) if other.number != trial.number]
        if "fixed_params" not in trial.system_attrs:
            # Of those that were drawn at a time the later goes; an enqueued one has its number from before.
            others = [other for other in others if other.number < trial.number]
        return len(others) >= self.n_trials

    def _reclaim(self, trial: FrozenTrial) -> None:
        job = self._job(trial)
        if job.is_at_work_elsewhere():
            return  # it has outlived its controller, and may yet finish
        job.look()
        self.tell(job)

    def _give_back(self, trial: FrozenTrial) -> None:
        """Let any controller run a trial that has not begun, later."""
        self._note(trial, "given_up", True)
        if self._close(trial.number, TrialState.FAIL):
            goes_on = {name: trial.user_attrs[name] for name in ("goes_on",) if name in trial.user_attrs}
            self.study.enqueue_trial(trial.params, user_attrs=goes_on)

    def _hand_over(self, job: Job) -> None:
        """Let any controller go on with the parameters and the directory of a trial that was interrupted."""
        trial = self.all()[job.number]
        self._note(trial, "given_up", True)
        if self._close(job.number, TrialState.FAIL):
            self.study.enqueue_trial(trial.params, user_attrs={"goes_on": int(job.folder.name)})

    def _close(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Whether it was us who did; another controller may have taken this one for dead."""
        try:
            self.study.tell(number, values, state=state)
        except (ValueError, UpdateFinishedTrialError):
            if self.all()[number].state == TrialState.RUNNING:
                raise
            return False
        return True

    def _note(self, trial: FrozenTrial, name: str, value: Any) -> None:
        with suppress(UpdateFinishedTrialError):  # taken over, when this process could not say that it is alive
            self.study._storage.set_trial_user_attr(trial._trial_id, name, value)


def _is_alive(trial: FrozenTrial) -> bool:
    """Whether the controller of a running trial is."""
    host, _, pid = trial.user_attrs.get("owner", ":").rpartition(":")
    if host == socket.gethostname():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    assert trial.datetime_start is not None
    last: float = trial.user_attrs.get("heartbeat", trial.datetime_start.timestamp())
    return time.time() - last < DEAD
