"""The gradient family: optimises a copy of the weights on the support set."""

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.parts.backward import grad_and_value
from metalearn.algorithms.parts.execution import DEFAULT, Execution, OfTask
from metalearn.algorithms.parts.functional import functional_call
from metalearn.algorithms.parts.network import AbstractNetwork
from metalearn.algorithms.parts.selection import selected
from metalearn.algorithms.parts.threads import TaskThreads, own
from metalearn.backbones import norm
from metalearn.backbones.base import is_of_backbone
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, Predictor, TaskOutput

log = logging.getLogger(__name__)

State = Any
"""State of the inner optimiser between steps: any nesting of tensors, None for none."""


@dataclass(frozen=True, kw_only=True)
class InnerLoop:
    """Settings of the inner loop, which moves the weights θ to the adapted weights φ.

    Args:
        steps: number of inner steps in training.
        test_steps: number of inner steps at meta-val and meta-test.
        batch_size: largest number of support rows that one step uses, in turn. The rows are divided
            evenly among as few steps as possible; None: one step uses all of them.
        adapt: regular expressions, matched at the start of a weight's name. The inner loop moves
            the weights that match at least one.
        first_order: whether the meta-gradient leaves out the second derivatives.

    Examples:
        >>> loop = InnerLoop(steps=1, test_steps=3, adapt=["head"])  # as ANIL
        >>> loop.select(["backbone.layers.0.weight", "head.weight", "head.bias"])
        ['head.weight', 'head.bias']
    """

    steps: int
    test_steps: int
    batch_size: int | None = None
    adapt: Sequence[str] = (".*",)
    first_order: bool = False

    def __post_init__(self) -> None:
        if min(self.steps, self.test_steps) < 0:
            raise ValueError(f"inner_loop: steps={self.steps} and test_steps={self.test_steps} must not be negative")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"inner_loop.batch_size is {self.batch_size}; it must be at least 1")

    def select(self, names: Sequence[str]) -> list[str]:
        """Selects the names that it moves; raises ValueError where a pattern matches none."""
        return selected(self.adapt, names, "inner_loop.adapt")


def descend(params: Parameters, grads: Parameters, rate: float | Tensor) -> Parameters:
    """Takes one step of gradient descent on the weights that have a gradient."""
    return params | {name: params[name] - rate * grad for name, grad in grads.items()}


class AbstractGradient(AbstractAlgorithm):
    """Adapts by inner steps on the support set, from the weights θ to φ.

    The methods `start` and `update` define the inner optimiser.

    Args:
        network: holder of the weights θ, called as network(x, rows) -> logits. Its `way` is the
            number of logits; None: as many as the task has ways.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.
        problem: classification, trained by cross-entropy, or regression, trained by squared error.
        norm_per_step: whether each inner step has running averages of its own.

    Examples:
        >>> from metalearn import MAML, MLP
        >>> loop = InnerLoop(steps=1, test_steps=3)
        >>> maml = MAML(MLP([4]), way=5, inner_lr=0.4, inner_loop=loop, batch_norm="batch")
        >>> stages = maml.stages(torch.randn(5, 4), torch.eye(5))  # after 0, 1, 2 and 3 steps
        >>> [tuple(predict(torch.randn(15, 4)).shape) for predict in stages]  # (Q, N) each
        [(15, 5), (15, 5), (15, 5), (15, 5)]
    """

    takes_gradients = True
    stage = "step"

    def __init__(
        self,
        network: AbstractNetwork,
        *,
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: norm.Moments,
        problem: Problem = "classification",
        norm_per_step: bool = False,
    ) -> None:
        super().__init__(batch_norm=batch_norm, fixed_way=network.way, problem=problem)
        normalises = any(isinstance(module, norm.BatchNorm) and not module.fixed for module in network.modules())
        if batch_norm == "running" and normalises and not norm_per_step:
            log.warning(
                "batch_norm=running keeps averages of the weights before the inner loop, which adapted weights "
                "do not fit; batch_norm=support is inductive too"
            )
        self.network = network  # type: ignore[misc]  # nn.Module keeps it, and the property reads it
        self.inner_loop, self.execution, self.threads = inner_loop, execution, TaskThreads()
        frozen = {name for name, w in network.named_parameters() if is_of_backbone(name) and not w.requires_grad}
        self.adapted = inner_loop.select([name for name, _ in network.named_parameters() if name not in frozen])

    @property
    def network(self) -> AbstractNetwork:
        """Holder of the weights θ; in a thread of a batch its copy, with the same weights."""
        return own(cast(AbstractNetwork, self._modules["network"]))

    @abstractmethod
    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, State]:
        """Returns the weights and optimiser state before the first step: θ, (S, *X), (S, N)."""

    @abstractmethod
    def update(self, params: Parameters, grads: Parameters, loss: Tensor, state: State) -> tuple[Parameters, State]:
        """Takes one inner step, from the support loss and its gradient in the adapted weights."""

    def query_loss(self, batch: Episode) -> TaskOutput:
        """Computes the mean query loss, through the inner loop (Finn et al. 2017, Algorithm 1)."""
        theta, loop = self.weights(), self.inner_loop

        def task(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Tensor, Tensor]:
            for params, _ in self.steps(theta, support_x, support_y, loop.steps, first_order=loop.first_order):
                phi = params  # lines 5-6; keeps only the last step in memory
            logits = self.predict(phi, support_x, query_x)  # (Q, N)
            return self.objective.loss(logits, query_y), logits  # line 8

        output = self.mean_loss(task, batch)
        self.track_moments(batch)
        return output

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        return self.stages(support_x, support_y)[-1]

    def stages(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """Returns the predictors after 0, 1, ..., `inner_loop.test_steps` inner steps."""
        self.check_way(support_y)
        return [partial(self.predict, params, support_x) for params in self.adapted_weights(support_x, support_y)]

    def adapts_together(self, device: torch.device, *, vectors: bool = False) -> bool:
        return self.execution.goes_together(device, vectors=vectors)

    def stages_of_all(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        for targets in support_y:  # torch.vmap would not let the check read values
            self.check_way(targets)
        # All weights carry the axis of the tasks, also those that no step moves.
        weights = torch.vmap(self.adapted_weights)(support_x, support_y)
        return [partial(torch.vmap(self.predict), params, support_x) for params in weights]

    def adapted_weights(self, support_x: Tensor, support_y: Tensor) -> list[Parameters]:
        """Returns the weights after 0, 1, ..., `inner_loop.test_steps` inner steps."""
        if self.inner_loop.batch_size is not None:
            # The caller's rows may be in any order, and every n-th one of a single class.
            order = support_y.argmax(1).argsort(stable=True)
            support_x, support_y = support_x[order], support_y[order]
        steps = self.steps(self.weights(), support_x, support_y, self.inner_loop.test_steps)
        return [params for params, _ in steps]

    def weights(self) -> Parameters:
        """Returns the initialisation θ."""
        return dict(self.network.named_parameters())

    def steps(
        self, params: Parameters, support_x: Tensor, support_y: Tensor, num_steps: int, *, first_order: bool = True
    ) -> Iterator[tuple[Parameters, State]]:
        """Yields weights and optimiser state after 0 to `num_steps` steps: (S, *X), (S, N)."""
        params, state = self.start(params, support_x, support_y)
        yield params, state
        # Within its class, the rows of an episode are in random order, so every n-th row gives a
        # batch of all classes.
        num_batches = math.ceil(len(support_x) / (self.inner_loop.batch_size or len(support_x)))
        for step in range(num_steps):
            rows = slice(step % num_batches, None, num_batches)
            update = partial(self._step, support_x[rows], support_y[rows], first_order)
            params, state = self.execution.step(update, params, state)
            yield params, state

    def _step(
        self, support_x: Tensor, support_y: Tensor, first_order: bool, params: Parameters, state: State
    ) -> tuple[Parameters, State]:
        # Without grad mode the gradient is a constant of the outer loop, and its graph is freed.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not first_order):
            grads, loss = self.support_gradient(params, support_x, support_y)
        return self.update(params, grads, loss, state)

    def support_gradient(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, Tensor]:
        """Computes the gradient in the adapted weights, and the value, of the mean support loss."""

        def support_loss(adapted: Parameters) -> Tensor:
            logits = functional_call(self.network, params | adapted, (support_x, self.rows(track=False)))
            return self.objective.loss(logits, support_y)

        return grad_and_value(support_loss)({name: params[name] for name in self.adapted})

    def predict(self, params: Parameters, support_x: Tensor, query_x: Tensor) -> Tensor:
        """Computes the logits of the queries under given weights: (S, *X), (Q, *X) -> (Q, N)."""
        if self.batch_norm != "support":
            return functional_call(self.network, params, (query_x, self.rows(track=False)))
        # The support rows join the pass, because they give the moments of the queries.
        support = support_x.shape[0]
        x = torch.cat([support_x, query_x])  # (S + Q, *X)
        return functional_call(self.network, params, (x, self.rows(support=support, track=False)))[support:]

    def mean_loss(self, task: OfTask, batch: Episode) -> TaskOutput:
        """Averages over the tasks a function that returns a task's loss, (), and query logits."""
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        return self.execution.mean_loss(task, batch, trained, self.share)

    def shares_tasks(self, device: torch.device) -> bool:
        return device.type == "cpu" and self.execution.uses_threads

    def share(self, work: Callable[..., Any], tasks: Sequence[Episode], *, compiled: bool = False) -> list[Any]:
        return self.threads.share(self.network, work, tasks, compiled=compiled)

    def track_moments(self, batch: Episode) -> None:
        """Updates running averages in use, by one pass at θ, since inner steps are pure."""
        if self.batch_norm == "running":
            x = torch.cat([batch.support_x, batch.query_x], dim=1).flatten(0, 1)  # (T * (S + Q), *X)
            with torch.no_grad():
                self.network(x, norm.Rows(tasks=batch.num_tasks, track=True))
