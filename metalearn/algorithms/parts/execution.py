"""How the tasks of a batch go through a loss: one by one or together, compiled or not, with the same gradient."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metalearn.algorithms.parts.backward import autocast_without_cache, mean_over_tasks
from metalearn.types import Episode, TaskOutput

OfTask = Callable[..., tuple[Tensor, ...]]
"""A function of one task: (support_x, support_y, query_x, query_y), each without the leading axis."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a gradient algorithm is computed; which weights it learns does not depend on it.

    Args:
        vmap: whether the tasks of a batch go through the loss together, or one after the other; None: together on an
            accelerator, which one small task cannot fill, and where the inputs are vectors.
        compile: whether the loss of a task, with the derivatives of its inner steps, becomes one compiled program: the
            same up to rounding, faster, after a minute or two at the first time on a machine.
        checkpoint: whether each inner step is computed again where its derivatives are needed, in the place of keeping
            its graph: less memory, more time, and the tasks go one after the other.
    """

    vmap: bool | None = None
    compile: bool = False
    checkpoint: bool = False

    def __post_init__(self) -> None:
        if self.checkpoint and (self.compile or self.vmap):
            raise ValueError("execution.checkpoint=true goes with neither compile=true nor vmap=true")
        if self.compile and not (shutil.which("g++") or shutil.which("clang++")):
            raise ValueError("execution.compile=true needs a C++ compiler: neither g++ nor clang++ is there")

    def mean_loss(self, function: OfTask, batch: Episode, weights: Sequence[Tensor]) -> TaskOutput:
        """The mean over the tasks of a function that gives the loss of a task, (), and the logits of its queries.

        Its gradient in the weights is taken task by task where the tasks do not go together.
        """
        with autocast_without_cache(batch.query_x.device.type):
            if self._goes_together(batch):
                losses, logits = self.map_tasks(function, batch)  # (T,), (T, Q, N)
                return TaskOutput(losses.mean(), logits)
            loss, others = mean_over_tasks(self._compiled(function), batch.tasks(), weights)
        return TaskOutput(loss, torch.stack([logits for (logits,) in others]))

    def map_tasks(self, function: OfTask, batch: Episode) -> tuple[Tensor, ...]:
        """The function of every task, each of its results stacked to (T, ...)."""
        if self._goes_together(batch):
            return self._compiled(torch.vmap(function, randomness="different"))(*batch)  # dropout differs between tasks
        function = self._compiled(function)
        return tuple(map(torch.stack, zip(*(function(*task) for task in batch.tasks()), strict=True)))

    def step(self, update: Callable[..., Any], *state: Any) -> Any:
        """One inner step, update(*state), whose graph is kept or computed again."""
        if self.checkpoint and torch.is_grad_enabled():
            return checkpoint(update, *state, use_reentrant=False)
        return update(*state)

    def _goes_together(self, batch: Episode) -> bool:
        if self.checkpoint or self.vmap is not None:
            return bool(self.vmap)
        vectors = batch.query_x.ndim == 3
        return vectors or batch.query_x.device.type != "cpu"

    def _compiled(self, function: OfTask) -> OfTask:
        return torch.compile(function) if self.compile else function


DEFAULT = Execution()
"""Tasks together where that is faster, nothing compiled, every graph kept."""
