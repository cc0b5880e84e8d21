"""Checks of objects that are built from a config, before any training."""

import warnings
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.episodes.setting import Setting
from metalearn.training.schedules import Schedule, SchedulerFactory


def check_other_setting(name: str, setting: Setting, data: AbstractEpisodes[Any], fixed_way: int | None) -> None:
    """Raises ValueError if a further test setting does not fit the data or the linear head."""
    try:
        data.check(setting, "test")
    except ValueError as error:
        raise ValueError(f"evaluation.settings has {name}: {error}") from error
    if fixed_way not in (None, setting.way):
        head = f"the linear head has {fixed_way} ways"
        raise ValueError(f"evaluation.settings has {name}, but {head}: leave it out, or train with that way")


def check_scheduler(scheduler: Schedule | SchedulerFactory, optimizer: Optimizer, max_steps: int) -> None:
    """Raises ValueError if a scheduler of torch fails, ends early, or changes backbone_lr.

    It may refuse its arguments when it is built or in its first step. The optimizer serves this
    check alone.
    """
    if isinstance(scheduler, Schedule):
        return
    if not isinstance(scheduler, partial):
        kind, base = type(scheduler).__name__, f"{Schedule.__module__}.{Schedule.__name__}"
        raise ValueError(f"scheduler: {kind} does not derive from {base}, and has no _partial_: true, as one of torch")
    given = rates(optimizer)
    try:
        schedule = scheduler(optimizer)
        if not isinstance(schedule, ReduceLROnPlateau):
            with warnings.catch_warnings(action="ignore"):  # torch warns of a schedule that is ahead
                schedule.step()
    except Exception as error:  # torch raises any kind
        raise ValueError(f"scheduler: torch refuses these settings ({error})") from error
    if 0 < (total := getattr(schedule, "total_steps", 0)) < max_steps:
        raise ValueError(f"scheduler.total_steps={total} ends before trainer.max_steps={max_steps}")
    if len(given) > len(left := rates(optimizer)) and left != {0.0}:
        raise ValueError(
            f"scheduler: {type(schedule).__name__} gives all weights one learning rate, which overrules "
            "optimizer.backbone_lr: leave it out, or give the scheduler a list of rates, the backbone's last"
        )


def rates(optimizer: Optimizer) -> set[float]:
    """Returns the learning rates of the groups of weights."""
    return {float(group["lr"]) for group in optimizer.param_groups}
