"""A callback that stops a run at a chosen point: by a signal, SIGKILL, or an exception.

The environment names the point, so that a stopped run, its resumption and an uninterrupted run have
equal configs.
"""

import errno
import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from metalearn.run.process import early_signals

VARIABLE = "STOP_AT"
CALLBACK = "+callbacks.stop={_target_:stopping.Stop}"


def allowing(environment: dict[str, str]) -> dict[str, str]:
    """Returns an environment whose runs may have the callback."""
    return {**environment, "METALEARN_TARGETS": "stopping.", "PYTHONPATH": str(Path(__file__).parent)}


class Stop(pl.Callback):
    """Stops at STOP_AT=<rank>:<how>:<point>:<count>, at the count-th pass of the point, from 1.

    `how` is the name of a signal, or "error" for a full disk. `point` is the name of a hook of
    Lightning, "write-<file>": between writing a file of that name and moving it into place, or
    "imports": as if the signal had come during the imports of a distributed run.
    """

    def __init__(self) -> None:
        rank, self.how, self.point, count = os.environ.get(VARIABLE, "0:::0").split(":")
        self.rank, self.left = int(rank), int(count)
        if self.point.startswith("write-"):
            self._watch_writes(self.point.removeprefix("write-"))
        elif self.point == "imports":
            early_signals.received.append(signal.Signals[self.how])

    def _watch_writes(self, name: str) -> None:
        replace = os.replace

        def stopping_replace(source: Any, target: Any, **keywords: Any) -> None:
            if Path(target).name == name:
                self._pass(0)
            replace(source, target, **keywords)

        os.replace = stopping_replace  # this process belongs to one run

    def _pass(self, rank: int) -> None:
        self.left -= 1
        if self.left or rank != self.rank:
            return
        if self.how == "error":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.kill(os.getpid(), signal.Signals[self.how])

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not name.startswith("on_") or name != super().__getattribute__("__dict__").get("point"):
            return found

        def hook(trainer: pl.Trainer, *arguments: Any, **keywords: Any) -> None:
            self._pass(trainer.global_rank)

        return hook
