"""Signals to a loop of jobs: each is passed on to the processes that run."""

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, Self, final

from metalearn.run.process.conventions import ECHO
from metalearn.sweep.jobs import Attempt


@final
class Interrupts:
    """Context in which the first signal asks all jobs to stop, and a second one kills them."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._first_at: float | None = None  # a cancel is no signal
        self._second = False
        self._forwarded: list[tuple[Attempt, bool]] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                # Under nohup a closed terminal ends nothing.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self._first_at = self._first_at or now
        self._second = self._second or now - self._first_at > ECHO
        self.received = self.received or signal.Signals(number)

    def cancel(self) -> None:
        """Acts as on a first SIGTERM, once."""
        self.received = self.received or signal.SIGTERM

    def forward(self, running: Sequence[Attempt]) -> None:
        """Passes on the signals that have arrived since the last call."""
        if self.received is None:
            return
        # A run watches for SIGTERM and SIGINT, so a closed terminal becomes SIGTERM.
        gentle = signal.SIGINT if self.received == signal.SIGINT else signal.SIGTERM
        sent = signal.SIGKILL if self._second else gentle
        for attempt in running:
            if (attempt, self._second) not in self._forwarded:
                self._forwarded.append((attempt, self._second))
                attempt.process.send(sent)
