"""Factors of the outer learning rate, as functions of the fraction of the training done, 0 to 1."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from metalearn.episodes.loaders import batches_done

SchedulerFactory = Callable[[Optimizer], LRScheduler]
"""Function that builds a scheduler of torch from an optimizer; the scheduler counts steps."""


class Schedule(ABC):
    """Function of the fraction done that returns the factor of the learning rate."""

    @abstractmethod
    def __call__(self, done: float) -> float: ...


@final
@dataclass(frozen=True)
class Constant(Schedule):
    """Constant learning rate.

    Examples:
        >>> Constant()(0.5)
        1.0
    """

    def __call__(self, done: float) -> float:
        return 1.0


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """Linear decay to 0, as Reptile's step size (Nichol et al. 2018).

    Examples:
        >>> Linear()(0.75)  # after three quarters of the training
        0.25
    """

    def __call__(self, done: float) -> float:
        return 1.0 - done


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """Half-cosine decay, as MAML++ (Antoniou et al. 2019: from 1e-3 to 1e-5).

    Args:
        floor: last factor of the learning rate.
        warmup: first fraction of the training, in which the rate rises linearly from 0.

    Examples:
        >>> Cosine(floor=0.1)(0.0), Cosine(floor=0.1)(1.0)
        (1.0, 0.1)
        >>> Cosine(warmup=0.2)(0.05)
        0.25
    """

    floor: float = 0.01
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not self.floor >= 0:
            raise ValueError(f"scheduler.floor={self.floor} must not be negative")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"scheduler.warmup={self.warmup} must be a fraction of the training, 0 to 1 without 1")

    def __call__(self, done: float) -> float:
        if done < self.warmup:
            return done / self.warmup
        decayed = (done - self.warmup) / (1 - self.warmup)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * decayed)) / 2


def lightning_config(
    schedule: Schedule | SchedulerFactory, optimizer: Optimizer, done: Callable[[], float]
) -> OptimizerLRScheduler:
    """Returns the config of Lightning for an optimizer and its scheduler.

    Args:
        done: function that returns the fraction of the training that is done.
    """
    if isinstance(schedule, Constant):
        return optimizer
    scheduler = (
        LambdaLR(optimizer, lambda _: schedule(done())) if isinstance(schedule, Schedule) else schedule(optimizer)
    )
    config: dict[str, Any] = {"scheduler": scheduler, "interval": "step"}
    if isinstance(scheduler, ReduceLROnPlateau):
        # The module steps this scheduler itself. Lightning would step it after the checkpoint of
        # the validation, and a resumed run would lose the step.
        config |= {"interval": "epoch", "frequency": sys.maxsize, "monitor": "val/loss", "strict": False}
    return {"optimizer": optimizer, "lr_scheduler": config}  # type: ignore[return-value]


def set_rates(schedule: Schedule | SchedulerFactory, optimizer: Optimizer, done: float) -> None:
    """Sets the learning rates of an optimizer to those of a schedule of ours.

    The state of a resumed optimizer has those of its last step, by the schedule of that time.
    """
    if isinstance(schedule, Schedule):
        for group in optimizer.param_groups:
            if not isinstance(schedule, Constant):
                group.setdefault("initial_lr", group["lr"])  # absent in the state after a constant rate
            if "initial_lr" in group:
                group["lr"] = group["initial_lr"] * schedule(done)


def time_done(trainer: pl.Trainer) -> float:
    """Returns the fraction of the training's time limit that has passed; 0 without a limit.

    All processes must call it, because they share the first process's clock and one learning rate.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
            past = callback.time_elapsed()
            return trainer.strategy.broadcast(past / (past + left))
    return 0.0


def steps_done(trainer: pl.Trainer) -> float:
    """Returns the fraction of the training's steps or epochs, whichever is larger, that is done.

    The fraction is 0 without such a limit.
    """
    of_steps = trainer.global_step / trainer.max_steps if trainer.max_steps > 0 else 0.0
    of_epochs = 0.0
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        of_epochs = batches_done(trainer) / (trainer.max_epochs * trainer.num_training_batches)
    return max(of_steps, of_epochs)
