"""Jobs that are forked from a server which has imported everything, so that they start at once.

They share no more than fresh processes do. The first process of a job of several is forked, and
starts the others by its command line.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import forkserver, get_context, reduction, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any, final

from metalearn.sweep import logs
from metalearn.sweep.jobs import AbstractProcess

PRELOADED = [
    "metalearn.__main__",
    "metalearn.run.process.torchmetrics_imports",  # before Lightning
    "metalearn.run.run",
    "metalearn.algorithms.prototypical",
    "metalearn.data.glyphs",
    "metalearn.sweep.warm",
]

PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds after each failed try to fork; a dying server counts as alive until it is gone."""

OF_A_GROUP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that a terminal or `timeout` sends to all processes of a command, the server included."""

OF_A_DEAD_SERVER = 255
"""Exit code that multiprocessing reports when the server has died, even if the process lives."""


@final
class ForkedProcess(AbstractProcess):
    """FreshProcess by a fork, for a command line of metalearn."""

    def __init__(self, arguments: Sequence[str], *, log: Path, environment: dict[str, str], held: IO[str]) -> None:
        # OpenMP reads it once, in the server.
        os.environ["OMP_NUM_THREADS"] = environment["OMP_NUM_THREADS"]
        logs.note_begin(log, ("metalearn", *arguments))
        self._log = log
        self._code: int | str | None = None
        self._process = _fork(list(arguments), log, environment, _Handed(held.fileno()))

    def exit_code(self) -> int | str | None:
        if self._code is not None:
            return self._code
        code: int | str | None = self._process.exitcode
        if code == OF_A_DEAD_SERVER:
            if self._is_at_work():
                return None
            code = "its exit code is not known: the server that forks jobs has died"
        if code is not None:
            self.send(signal.SIGKILL)
            logs.note_end(self._log, code)
            self._code = code
        return code

    def _is_at_work(self) -> bool:
        """Returns whether the process lives; only its parent, the server, gets the exit code."""
        assert self._process.pid is not None
        try:
            os.kill(self._process.pid, 0)
            stat = Path(f"/proc/{self._process.pid}/stat")
            return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:  # it has ended
            return False

    def send(self, sent: signal.Signals) -> None:
        assert self._process.pid is not None
        with suppress(ProcessLookupError, PermissionError):  # it has ended
            try:
                os.killpg(self._process.pid, sent)
            except ProcessLookupError:
                if self._process.exitcode is None:  # it has no group of its own yet
                    os.kill(self._process.pid, sent)


class _Handed:
    """A file descriptor on its way to another process, where it arrives as its number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return _arrived, (reduction.DupFd(self.number),)


def _arrived(handed: Any) -> int:
    number: int = handed.detach()
    return number


def _fork(*given: Any) -> BaseProcess:
    """Returns a process of the server, which is started where none is alive.

    Raises ConnectionError where one server after another dies.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    for pause in PAUSES:
        process = context.Process(target=_work, args=given)
        try:
            _ensure_server()
            process.start()
            return process
        except (EOFError, OSError) as error:  # the server has died, or is dying
            last = error
            time.sleep(pause)
    raise ConnectionError(
        f"no job could be forked in {len(PAUSES)} tries ({last}): repeat the command with hydra.launcher.preload=false"
    ) from last


def _ensure_server() -> None:
    """Starts the server if none is alive; the signals of its group are blocked in it for ever."""
    resource_tracker.ensure_running()  # it unblocks signals when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_A_GROUP)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(arguments: list[str], log: Path, environment: dict[str, str], held: int) -> None:
    """Becomes what the command line would start; `held` stays open, and locked, until the end."""
    # To search the imports for garbage would take longer than to compose the config.
    gc.freeze()
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_A_GROUP)
    for number, target, how in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND)):
        opened = os.open(target, how)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["metalearn", *arguments]

    from metalearn import __main__ as program

    # Lightning starts the other processes of a job by this name.
    sys.modules["__main__"].__spec__ = program.__spec__
    program.main()
