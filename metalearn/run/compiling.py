"""Compilation of the loss of a task, where a training is long enough to repay it."""

import dataclasses
import logging
import shutil
import sysconfig
from pathlib import Path
from typing import Any, final

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Timer
from torch import nn

from metalearn.algorithms.maml import MAML
from metalearn.backbones.base import is_of_backbone
from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.run.screen import console

log = logging.getLogger(__name__)

REPAYS = 40_000
"""Smallest number of inner steps in a training that is compiled.

On two cores, compiling takes one to two minutes, and then shortens an inner step, with its share of
the queries, by 3 to 4 ms (docs/benchmarks.md).
"""


@final
class CompiledTasks(pl.Callback):
    """Compiles the loss of a task in a training, unless `why_not_compiled` has a reason.

    The decision depends on the settings alone, so repeated runs give the same numbers.
    """

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        algorithm = module.algorithm
        if not isinstance(algorithm, MAML) or algorithm.execution.compile is not None:
            return
        if (reason := why_not_compiled(algorithm, trainer, trainer.datamodule)) is not None:  # type: ignore[attr-defined]
            log.info("the loss of a task is not compiled: %s", reason)
            return
        algorithm.execution = dataclasses.replace(algorithm.execution, compile=True)
        if trainer.is_global_zero:
            console.say("compiling the loss of a task, which takes one to two minutes the first time on a machine")


def why_not_compiled(algorithm: MAML, trainer: pl.Trainer, data: AbstractEpisodes[Any]) -> str | None:
    """Returns the reason why a training does not compile the loss of a task; None if it does."""
    device, loop, execution = trainer.strategy.root_device, algorithm.inner_loop, algorithm.execution
    inner_steps = trainer.max_steps * trainer.accumulate_grad_batches * data.tasks_per_batch * loop.steps
    limited = any(isinstance(callback, Timer) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    convolves = any(isinstance(module, nn.Conv2d) for module in algorithm.network.modules())
    reasons = {
        f"this is for CPUs, and the run is on {device.type}": device.type != "cpu",
        "there is neither g++ nor clang++": not (shutil.which("g++") or shutil.which("clang++")),
        "the headers of Python are missing": not Path(sysconfig.get_path("include"), "Python.h").exists(),
        "the shapes of the training episodes vary": not data.settings["train"].has_one_shape,
        "the inner loop has no second derivatives": loop.first_order,
        "no convolution is adapted": not convolves or not any(map(is_of_backbone, algorithm.adapted)),
        f"the precision is {trainer.precision}": trainer.precision != "32-true",
        "execution.vmap or execution.checkpoint is set": bool(execution.vmap) or execution.checkpoint,
        "the number of steps is unlimited": trainer.max_steps < 0,
        "the time limit includes the compilation": limited,
        f"{inner_steps:,} inner steps do not repay it, {REPAYS:,} would": inner_steps < REPAYS,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
