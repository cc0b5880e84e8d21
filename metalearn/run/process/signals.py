"""Signals: a training stops between two steps, at one step in all processes; all else at once."""

import signal
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Self

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import SIGTERMException

from metalearn.run.process.conventions import ECHO

WATCHED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,  # the terminal is closed
    signal.SIGUSR1,  # warning of a batch system, as are the three below
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGXCPU,
)
"""Signals that end a run in order; an ignored signal, such as SIGHUP under nohup, stays ignored."""


class Signals:
    """Context in which a signal ends the run by SIGTERMException, which Lightning does not change.

    While `training`, the first signal is only recorded, for StopBetweenSteps; a second one ends the
    run at once. After `close()` no signal ends the run, so that it can write its result.

    Attributes:
        received: signal that ends the run, or None.
        training: whether the run is in its training.
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

    def deliver(self, numbers: Iterable[int]) -> None:
        """Handles signals that have arrived before."""
        for number in numbers:
            self._handle(number, None)

    def close(self) -> None:
        """Ignores signals from now on."""
        self._closed = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._closed or (self.received is not None and time.monotonic() - self._received_at < ECHO):
            return
        waits = self.training and self.received is None
        self.received, self._received_at = signal.Signals(number), time.monotonic()
        if not waits:
            raise SIGTERMException


class StopBetweenSteps(pl.Callback):
    """Stops the training before the next step if any process has received a signal.

    Lightning would stop anywhere on Ctrl-C, even between two weights of an update. On SIGTERM it
    could stop one process in a validation while the others wait for it. So these handlers replace
    Lightning's at the start of a loop.

    Args:
        signals: received signals.
        save: saves the last checkpoint.
    """

    def __init__(self, signals: Signals, *, save: Callable[[pl.Trainer], None]) -> None:
        self.signals, self._save = signals, save

    def on_train_start(self, *_: Any) -> None:
        self.signals.install()
        self.signals.training = True

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        # A checkpoint holds no gradients that are still being accumulated.
        between_steps = batch_idx % trainer.accumulate_grad_batches == 0
        if between_steps and trainer.strategy.reduce_boolean_decision(self.signals.received is not None, all=False):
            # The batch has been fetched but is not trained on, so a resumed loop must not count it.
            progress = trainer.fit_loop.epoch_loop.batch_progress
            progress.total.ready -= 1
            progress.current.ready -= 1
            progress.is_last_batch = False  # the epoch still has this batch
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
