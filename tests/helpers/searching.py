"""A search whose runs are shell commands, to test controllers without training."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
from optuna.trial import TrialState

from metalearn.run.trials.trial import TrialAddress
from metalearn.search import source
from metalearn.search import space as search_space
from metalearn.search.best import Findings
from metalearn.search.objectives import objectives
from metalearn.search.source import TrialSource
from metalearn.search.study import enqueue_start, open_study
from metalearn.search.trials import Trials
from metalearn.sweep import loop
from metalearn.sweep.control import watch_cancel
from metalearn.sweep.jobs import FreshProcess, Job
from metalearn.sweep.loop import Loop
from metalearn.sweep.screen import Screen
from metalearn.sweep.slots import Slots

SCORE = """awk "BEGIN { print 1 - ($x - 0.3)^2 }" """
COMPLETED = f"""echo "{{\\"status\\": \\"completed\\", \\"seconds\\": {{}}, \\"val\\": {{\\"accuracy\\":
    {{\\"mean\\": $({SCORE.strip()}), \\"std\\": 0, \\"ci95\\": 0, \\"num_episodes\\": 1}}}}}}" > result.json"""


WRITING = threading.Lock()
"""Lock for writing, as temporary names contain the process, which several controllers share."""


class Controller:
    """Process that searches for the best x; `script` is the run, with x in its environment."""

    def __init__(
        self,
        folder: Path,
        *,
        script: str = COMPLETED,
        params: str = "interval(0,1)",
        sampler: str = "random",
        seed: int | None = 0,
        n_trials: int = 4,
        slots: int = 2,
        retries: int = 0,
        storage: str | None = None,
        seeds: Sequence[int] = (),
        aims: Sequence[str] = ("score",),
        score: str = "accuracy",
        start: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.retries = retries
        self.folder, self.script, self.slots = folder, script, Slots(["a"] * slots, gpu=False, threads=1)
        folder.mkdir(parents=True, exist_ok=True)
        space, fixed = search_space.read({"x": params}, ["y=1"])
        storage = storage or str(folder / "study.log")
        chosen = objectives(aims, score)
        common: dict[str, Any] = {"objectives": chosen, "space": space, "fixed": fixed, "seeds": seeds}
        self.study = open_study(storage, name=folder.name, sampler=sampler, seed=seed, composed={}, **common)
        enqueue_start(self.study, start, space)
        address = partial(TrialAddress, storage, folder.name, pruner="none") if list(aims) == ["score"] else None
        self.trials = Trials(
            self.study, n_trials=n_trials, folder=folder, address=address, check=lambda _: None, **common
        )
        self.jobs: list[Job] = []

    def run(self) -> signal.Signals | None:
        screen = Screen(self.jobs, common=["y=1"])
        findings = Findings(self.trials, screen=screen, folder=self.folder)
        received = Loop(
            TrialSource(self.trials, self.jobs, findings),
            slots=self.slots,
            start=self._start,
            processes=lambda job: 1,
            screen=screen,
            timeout=None,
            retries=self.retries,
            is_cancelled=watch_cancel(self.folder),
        ).run()
        self.trials.leave()
        findings.table()
        with WRITING:
            findings.write()
        return received

    def _start(self, job: Job, places: list[str], held: IO[str]) -> FreshProcess:
        given = dict(override.partition("=")[::2] for override in job.overrides)
        environment = {**os.environ, **job.environment, "x": given["x"], "seed": given.get("seed", "")}
        command = ["sh", "-c", f"cd {job.folder}; {self.script}"]
        return FreshProcess(command, log=job.log, environment=environment, held=held)

    def states(self) -> list[str]:
        return [trial.state.name for trial in self.study.get_trials()]

    def values(self, *states: TrialState) -> list[Any]:
        return [trial.params["x"] for trial in self.study.get_trials(states=states or (TrialState.COMPLETE,))]


def of_a_dead_process(controller: Controller) -> Controller:
    """Marks a controller as running in a process that has ended."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    controller.trials._owner = f"{socket.gethostname()}:{gone.pid}"
    return controller


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the polling of processes, for shell commands; test files import this fixture."""
    monkeypatch.setattr(loop, "POLL", 0.01)
    monkeypatch.setattr(source, "PATIENCE", 0.1)
