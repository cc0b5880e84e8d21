"""The state of each job of a sweep as its directory shows it, whoever runs the jobs and where."""

import signal
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, final, get_args

from metalearn.estimates import SIGNS
from metalearn.formats import interval, score
from metalearn.run.directory import sweep_record
from metalearn.run.directory.claim import LOCK, is_locked
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.result import Outcome, Status
from metalearn.run.directory.validations import validation_curve
from metalearn.sweep import logs
from metalearn.sweep.jobs import JOB_LOCK, Job, shared
from metalearn.sweep.submitted import is_submitted

AtWork = Literal["queued", "starting", "running"]
State = Status | AtWork | Literal["waiting"]

ASKED = {code for number in (signal.SIGINT, signal.SIGTERM) for code in (-number, 128 + number)}
"""Exit codes of a process that a signal stopped, whether Python handled the signal or not."""

TRIALS = ("[0-9]*/stdout*.log", "[0-9]*/seed*/stdout*.log")
"""Outputs of the trials of a search, of one seed or several; also of attempts that failed."""


class Best(NamedTuple):
    """The best validation of a run so far."""

    score: str  # "accuracy" or "mse"
    value: float

    @property
    def rank(self) -> float:
        """Sort key: more is better."""
        return SIGNS[self.score] * self.value

    def __str__(self) -> str:
        return score(self.score, self.value)


@final
@dataclass(frozen=True)
class Standing:
    """A job at an instant."""

    job: Job
    name: str  # path of its directory within the sweep
    label: str  # overrides by which it differs from the other jobs
    state: State
    reason: str  # cause of a failure
    exit_code: int | None
    seconds_left: float | None  # rest of its training
    best: Best | None  # at meta-val
    test: str  # score at meta-test, with its interval

    @property
    def is_at_work(self) -> bool:
        return self.state in get_args(AtWork)


def read(sweep: Path) -> list[Standing]:
    """Returns the state of each job. Raises ValueError where the directory holds no sweep."""
    found = jobs(sweep)
    common = shared(found)
    return [look(job, sweep, common) for job in found]


def jobs(sweep: Path) -> list[Job]:
    """Returns the jobs of a sweep, or the trials of a search that have begun."""
    if recorded := sweep_record.read(sweep).jobs:
        pairs = [(sweep / name, overrides) for name, overrides in recorded.items()]
    else:
        folders = sorted({log.parent for place in TRIALS for log in sweep.glob(place)})
        pairs = [(folder, _overrides(folder)) for folder in folders]
    return [Job(number, overrides, folder) for number, (folder, overrides) in enumerate(pairs)]


def look(job: Job, sweep: Path, common: Set[str]) -> Standing:
    """Returns the state of one job; its label leaves out `resume` and the common overrides."""
    state, reason = _state(job)
    test = job.score("test") if state == "completed" else None
    return Standing(
        job=job,
        name=str(job.folder.relative_to(sweep)),
        label=" ".join(o for o in job.overrides if o not in common and not o.startswith("resume=")),
        state=state,
        reason=reason,
        exit_code=logs.exit_code(job.log) if state in get_args(Status) else None,
        seconds_left=logs.seconds_left(job.log) if state == "running" else None,
        best=best_so_far(RunFolder(job.folder).metrics),
        test=interval(test) if test is not None else "",
    )


def best_so_far(metrics: Path) -> Best | None:
    """Returns the best score at meta-val in metrics.csv, whose last row may be half written."""
    found = validation_curve(metrics, SIGNS)
    return max((Best(found.score, row.score) for row in found.validations), key=lambda best: best.rank, default=None)


def _state(job: Job) -> tuple[State, str]:
    if is_locked(job.folder / LOCK):
        return "running", ""
    try:
        result = job.result()
    except ValueError as error:
        return "failed", str(error)
    if result is None or result.status == "interrupted":  # else a queue may still list it
        if is_submitted(job.folder):
            return "queued", ""
        if is_locked(job.folder / JOB_LOCK):
            return "starting", ""
    if result is None and not job.log.is_file():
        return "waiting", ""
    _conclude(job, result)
    return job.status, job.reason  # type: ignore[return-value]  # concluded, so not pending


def _conclude(job: Job, result: Outcome | None) -> None:
    """Notes how a job has ended, as its controller has noted it.

    The controller may have died first, and a user may have continued the job without one.
    """
    verdict = logs.verdict(job.log)
    if verdict is not None and not (result and (result.finished or _is_newer(RunFolder(job.folder).result, job.log))):
        job.status, job.reason = verdict
        return
    code = logs.exit_code(job.log)
    asked_early = result is None and code in ASKED
    stopped = asked_early or (result is not None and result.status == "interrupted")
    job.conclude("killed" if code is None else code, stopped=stopped, timed_out=None)


def _is_newer(path: Path, other: Path) -> bool:
    with suppress(FileNotFoundError):  # another attempt has begun meanwhile
        return path.stat().st_mtime > other.stat().st_mtime
    return False


def _overrides(folder: Path) -> list[str]:
    """Returns the overrides of a run, which it records when it has composed its config."""
    with suppress(OSError, ValueError):  # absent yet, or torn by a kill
        return RunFolder(folder).typed()
    return []
