"""Factors of the outer learning rate, as functions of the fraction of the training that is done, 0 to 1."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

SchedulerFactory = Callable[[Optimizer], LRScheduler]
"""A scheduler of torch that waits for its optimizer; it counts steps."""


class Schedule(ABC):
    """From the fraction done to the factor of the learning rate."""

    @abstractmethod
    def __call__(self, done: float) -> float: ...


@final
@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate as it is given."""

    def __call__(self, done: float) -> float:
        return 1.0


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """Down to nothing in a straight line, as Reptile's step (Nichol et al. 2018)."""

    def __call__(self, done: float) -> float:
        return 1.0 - done


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """Down to `floor` along a half cosine, as MAML++ (Antoniou et al. 2019: from 1e-3 to 1e-5)."""

    floor: float = 0.01

    def __call__(self, done: float) -> float:
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2
