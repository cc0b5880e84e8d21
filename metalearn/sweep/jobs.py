"""A job of a sweep: its directory, its status, and the process that is at work on it."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, final

from metalearn.run.command.grammar import quoted
from metalearn.run.directory.claim import LOCK, is_locked, lock
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.result import Measured, Outcome, Status
from metalearn.run.process.conventions import BAD_INPUT
from metalearn.sweep import logs
from metalearn.sweep.submitted import is_submitted

JOB_LOCK = ".job.lock"
"""Held by a controller from before a job starts, and by the job.

The job holds it also when the controller is killed.
"""

GRACE = 60.0
"""Seconds that a job has for its last checkpoint after the signal that its time is over."""


class JobFailed(Exception):
    """A job of a sweep has no result; the message says why, in one line."""


@dataclass
class Job:
    """One run of a sweep."""

    number: int
    overrides: list[str]
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)  # additions to that of its slot
    status: Status | Literal["pending", "running"] = "pending"
    reason: str = ""  # why it is failed
    seconds: float | None = None  # work in this command; the whole run where it finished before
    attempts: int = 0
    before: bool = False  # whether it was finished before the sweep

    @property
    def log(self) -> Path:
        return RunFolder(self.folder).output

    @property
    def finished(self) -> bool:
        return self.status in ("completed", "pruned")

    def result(self) -> Outcome | None:
        """Reads its result, if it has one. Raises ValueError in one line where it is damaged."""
        return RunFolder(self.folder).outcome()

    def score(self, split: Literal["val", "test"]) -> Measured | None:
        """Returns its accuracy, or squared error, with the interval; None where it left none."""
        result = self.result()
        return result.measured(split) if result else None

    def look(self) -> None:
        """Notes whether it is finished already."""
        result = self.result()
        if result and result.finished:
            self.status = result.status
            self.seconds = result.seconds.total if result.seconds else 0.0

    def was_finished(self) -> bool:
        """Notes whether it was finished before the sweep. Raises ValueError for damaged results."""
        try:
            self.look()
        except ValueError as error:
            raise ValueError(f"{error}; delete it, and the job continues from its last checkpoint") from error
        self.before = self.finished
        return self.before

    def is_at_work_elsewhere(self) -> bool:
        """Returns whether a run is at work in its directory.

        Another controller, a killed one, or a user may have started it.
        """
        return any(is_locked(self.folder / name) for name in (JOB_LOCK, LOCK)) or is_submitted(self.folder)

    def begin(self) -> IO[str] | None:
        """Takes the directory for a new attempt.

        Returns None when another process has it, or has finished the job meanwhile: its status
        says so.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        held = lock(self.folder / JOB_LOCK)
        if held is None:
            return None
        with suppress(ValueError):  # a damaged result is that of no finished job
            self.look()
        if self.finished:
            held.close()
            return None
        # A run refuses a directory that holds a result, such as that of an attempt that failed.
        RunFolder(self.folder).result.unlink(missing_ok=True)
        self.status, self.reason = "running", ""
        self.attempts += 1
        return held

    def conclude(self, code: int | str, *, stopped: bool, timed_out: float | None) -> None:
        """Notes the end of an attempt, by its exit code and its result.

        Args:
            code: exit code as AbstractProcess has it.
            stopped: whether a signal has stopped the sweep.
            timed_out: exceeded time limit in seconds, if any.
        """
        try:
            result, damage = self.result(), None
        except ValueError as error:
            result, damage = None, str(error)
        status = result.status if result else None
        # The result is written last: what happens to the process later takes nothing from it.
        if result and result.finished:
            self.status = result.status
        elif stopped and status in (None, "interrupted"):
            self.status = "interrupted"
        else:
            self.status = "failed"
            if timed_out is not None:
                self.reason = f"stopped after {timed_out:g} s"
            elif isinstance(code, str):
                self.reason = code
            elif code < 0:
                self.reason = f"killed by {_signal_name(-code)}"
            elif code == BAD_INPUT:
                self.reason = f"refused: {logs.refusal(self.log) or (result and result.error) or 'exit code 2'}"
            else:
                why = damage or (result and result.error) or ("no result.json" if code == 0 else None)
                self.reason = f"exit code {code}" + (f", {why}" if why else "")


def shared(jobs: Sequence[Job]) -> set[str]:
    """Returns the overrides that all jobs have; none for a single job, which they name."""
    return set(jobs[0].overrides).intersection(*(job.overrides for job in jobs)) if len(jobs) > 1 else set()


class AbstractProcess(ABC):
    """A process that works on a job."""

    @abstractmethod
    def exit_code(self) -> int | str | None:
        """Returns None while it runs, then the code as in subprocess, negative for a signal.

        When it has ended, nothing of it is left. Where a cluster has ended it, the report of the
        cluster replaces the code.
        """

    @abstractmethod
    def send(self, sent: signal.Signals) -> None:
        """Sends a signal to it and to all that it has started."""


@final
class FreshProcess(AbstractProcess):
    """A command with its output in a file, in a process group of its own.

    A signal reaches all ranks of a DDP job. The command holds the lock that it receives, if any,
    until it has ended, whatever becomes of this process.
    """

    def __init__(self, command: Sequence[str], *, log: Path, environment: dict[str, str], held: IO[str] | None) -> None:
        logs.note_begin(log, command)
        self._log = log
        with log.open("ab") as file:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=[held.fileno()] if held else [],
            )

    def exit_code(self) -> int | None:
        running = self._popen.returncode is None
        code = self._popen.poll()
        if running and code is not None:
            self.send(signal.SIGKILL)  # a rank left behind would wait for the others for ever
            logs.note_end(self._log, code)
        return code

    def send(self, sent: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # it has ended
            os.killpg(self._popen.pid, sent)


@final
class Attempt:
    """A process at work on a job, at some places, until a time limit."""

    def __init__(
        self, job: Job, process: AbstractProcess, *, held: IO[str], places: list[str], timeout: float | None
    ) -> None:
        self.job, self.process, self.places = job, process, places
        self._held, self._timeout = held, timeout
        self._began, self._warned = time.monotonic(), False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def ended(self, *, stopped: bool) -> bool:
        """Returns whether it has ended; the job then states how.

        Enforces the time limit: SIGTERM first, then SIGKILL.
        """
        code = self.process.exit_code()
        if code is None:
            if self._timeout is not None and self.seconds > self._timeout:
                if not self._warned:
                    self.process.send(signal.SIGTERM)
                    self._warned = True
                elif self.seconds > self._timeout + GRACE:
                    self.process.send(signal.SIGKILL)
            return False
        self.job.seconds = (self.job.seconds or 0.0) + self.seconds
        self.job.conclude(code, stopped=stopped, timed_out=self._timeout if self._warned else None)
        if not self.job.finished:
            logs.note_verdict(self.job.log, self.job.status, self.job.reason)
        self.may_be_retried = self.job.status == "failed" and code != BAD_INPUT
        self._held.close()
        return True


def resuming(folder: Path) -> list[str]:
    """Returns the arguments that continue a run in its directory; none before a checkpoint."""
    return [f"resume={quoted(folder)}"] if RunFolder(folder).holds_checkpoint else []


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have none
        return f"signal {number}"
