"""Factors of the outer learning rate, as functions of the fraction of the training that is done."""

import math
from collections.abc import Callable
from typing import Literal, get_args

ScheduleName = Literal["constant", "linear", "cosine"]
Schedule = Callable[[float], float]
"""From 0 .. 1, the fraction done, to the factor of the learning rate."""


def constant(done: float) -> float:
    return 1.0


def linear(done: float) -> float:
    """Down to nothing in a straight line, as Reptile's step (Nichol et al. 2018)."""
    return 1.0 - done


def cosine(done: float) -> float:
    """Down to a hundredth along a half cosine, as MAML++ (Antoniou et al. 2019: from 1e-3 to 1e-5)."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


SCHEDULES: dict[ScheduleName, Schedule] = dict(zip(get_args(ScheduleName), (constant, linear, cosine), strict=True))
