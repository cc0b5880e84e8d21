"""Signals: a training stops between two steps, all processes at the same one; anything else at once."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import SIGTERMException

WATCHED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,  # a terminal that is closed
    signal.SIGUSR1,  # warnings of batch systems, as the three below
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGXCPU,
)
"""Signals that end a run in order; one that is ignored, as SIGHUP under nohup, stays ignored."""

ECHO = 1.0
"""Seconds in which a signal that comes again is the same one: SLURM sends it to all processes of a job, and a process
that has others passes it on to them."""


class Signals:
    """Context in which a signal ends the run by SIGTERMException, which Lightning passes on as it is.

    `received` is the signal. While `training`, the first one is only noted, for StopBetweenSteps; a second one does not
    wait. After `close()` none ends the run, which is writing its result.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.training = self._closed = False
        self._received_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {
            watched: handler for watched in WATCHED if (handler := signal.getsignal(watched)) is not signal.SIG_IGN
        }
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for watched, handler in self._before.items():
                signal.signal(watched, handler)

    def install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for watched in self._before:
                signal.signal(watched, self._handle)

    def close(self) -> None:
        """Note signals from now on without acting on them."""
        self._closed = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._closed or (self.received is not None and time.monotonic() - self._received_at < ECHO):
            return
        waits = self.training and self.received is None
        self.received, self._received_at = signal.Signals(number), time.monotonic()
        if not waits:
            raise SIGTERMException


class StopBetweenSteps(pl.Callback):
    """Stops the training before the next step when any process has received a signal.

    Lightning's own handling would stop anywhere on Ctrl-C, between two weights of an update even, and on SIGTERM could
    stop one process in a validation whose others wait for it. So ours replace its handlers when a loop starts.
    """

    def __init__(self, signals: Signals, *, save: Callable[[pl.Trainer], None]) -> None:
        self.signals, self._save = signals, save

    def on_train_start(self, *_: Any) -> None:
        self.signals.install()
        self.signals.training = True

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        # Gradients that are still being accumulated are in no checkpoint.
        between_steps = batch_idx % trainer.accumulate_grad_batches == 0
        if between_steps and trainer.strategy.reduce_boolean_decision(self.signals.received is not None, all=False):
            # The batch has been fetched and will not be trained on: the loop must not count it when it goes on.
            progress = trainer.fit_loop.epoch_loop.batch_progress
            progress.total.ready -= 1
            progress.current.ready -= 1
            progress.is_last_batch = False  # of its epoch, which has one more now
            self._save(trainer)
            raise SIGTERMException

    def on_train_end(self, *_: Any) -> None:
        self.signals.training = False
        if self.signals.received is not None:
            raise SIGTERMException

    def on_test_start(self, *_: Any) -> None:
        self.signals.install()

    def on_exception(self, *_: Any) -> None:
        self.signals.training = False
