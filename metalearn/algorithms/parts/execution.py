"""Execution of a batch: tasks one by one or together, compiled or not, with the same gradient."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metalearn.algorithms.parts.backward import Share, autocast_without_cache, mean_over_tasks, whole
from metalearn.algorithms.parts.threads import is_in_thread
from metalearn.types import Episode, TaskOutput

OfTask = Callable[..., tuple[Tensor, ...]]
"""Function of one task: (support_x, support_y, query_x, query_y), without the leading axis."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Settings of how a gradient algorithm is computed; the learned weights do not depend on them.

    Args:
        vmap: whether the tasks of a batch run together (true) or one after the other (false). None:
            together on an accelerator, which one small task cannot fill, and where the inputs are
            vectors; elsewhere in threads, unless checkpointed.
        compile: whether to compile the loss of a task and the derivatives of its inner steps into
            one program. It is faster and equal up to rounding; the first compilation on a machine
            takes a minute or two. None: not, except in a long training, which replaces it by true
            (`metalearn.run.compiling`).
        checkpoint: whether to recompute each inner step where its derivatives are needed, instead
            of keeping its graph. It needs less memory and more time, and the tasks run one by one.

    Examples:
        >>> Execution(vmap=True)  # MAML(..., execution=...) adapts to all tasks of a batch at once
        Execution(vmap=True, compile=None, checkpoint=False)
    """

    vmap: bool | None = None
    compile: bool | None = None
    checkpoint: bool = False

    def __post_init__(self) -> None:
        if self.checkpoint and (self.compile or self.vmap):
            raise ValueError("execution.checkpoint=true excludes compile=true and vmap=true")
        if self.compile and not (shutil.which("g++") or shutil.which("clang++")):
            raise ValueError("execution.compile=true needs a C++ compiler: install g++ or clang++")

    def mean_loss(self, function: OfTask, batch: Episode, weights: Sequence[Tensor], share: Share) -> TaskOutput:
        """Averages over the tasks a function that returns a task's loss, (), and query logits.

        The gradient in the weights is computed task by task where the tasks run one by one.
        """
        with autocast_without_cache(batch.query_x.device.type):
            if self._batch_goes_together(batch):
                losses, logits = self.map_tasks(function, batch, share)  # (T,), (T, Q, N)
                return TaskOutput(losses.mean(), logits)
            function = self._compiled(function)
            loss, others = mean_over_tasks(function, batch.tasks(), weights, self._shared(share))
        return TaskOutput(loss, torch.stack([logits for (logits,) in others]))

    def map_tasks(self, function: OfTask, batch: Episode, share: Share) -> tuple[Tensor, ...]:
        """Applies a function to every task, and stacks each of its results to (T, ...)."""
        if self._batch_goes_together(batch):
            # Dropout differs between tasks.
            return self._compiled(torch.vmap(function, randomness="different"))(*batch)
        function = self._compiled(function)
        shares = self._shared(share)(lambda tasks: [function(*task) for task in tasks], batch.tasks())
        return tuple(map(torch.stack, zip(*chain(*shares), strict=True)))

    def step(self, update: Callable[..., Any], *state: Any) -> Any:
        """Takes one inner step, update(*state), and keeps its graph or recomputes it."""
        if self.checkpoint and torch.is_grad_enabled():
            return checkpoint(update, *state, use_reentrant=False)
        return update(*state)

    def goes_together(self, device: torch.device, *, vectors: bool = False) -> bool:
        """Whether tasks run together on a device; `vectors`: their inputs are no images."""
        if self.checkpoint or self.vmap is not None:
            return bool(self.vmap)
        return vectors or device.type != "cpu"

    @property
    def uses_threads(self) -> bool:
        """Whether small tasks on a CPU run in threads, where they do not go together."""
        return self.vmap is None and not self.checkpoint

    def _batch_goes_together(self, batch: Episode) -> bool:
        x = batch.query_x
        return self.goes_together(x.device, vectors=x.ndim == 3 and x.is_floating_point())  # a text is ids

    def _shared(self, share: Share) -> Share:
        if not self.uses_threads:
            return whole
        return partial(share, compiled=True) if self.compile else share

    def _compiled(self, function: OfTask) -> OfTask:
        if not self.compile:
            return function
        alone = torch.compile(function)
        # Threads share one network, which a part that is not compiled would change, and run at the
        # same time only what holds no lock of Python.
        in_threads = torch.compile(function, fullgraph=True, options={"cpp_wrapper": True})

        def compiled(*task: Tensor) -> tuple[Tensor, ...]:
            return in_threads(*task) if is_in_thread() else alone(*task)

        return compiled


DEFAULT = Execution()
"""Tasks together or in threads where that is faster, nothing compiled, every graph kept."""
