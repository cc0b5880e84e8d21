"""The gradient family: optimise a copy of the weights on the support set."""

import logging
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.parts.backward import grad_and_value
from metalearn.algorithms.parts.execution import DEFAULT, Execution, OfTask
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone, checked, is_of_backbone
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, Predictor, TaskOutput

log = logging.getLogger(__name__)

State = Any
"""What the inner optimiser carries from step to step: any nesting of tensors, () for none."""


@dataclass(frozen=True, kw_only=True)
class InnerLoop:
    """How an algorithm of the family goes from the weights θ to the adapted weights φ.

    Args:
        steps: number of inner steps in training. test_steps: the same at meta-val and meta-test.
        batch_size: rows of the support set that a step sees, in turn; None: all of them.
        adapt: regular expressions; the inner loop moves the weights whose name one of them matches at its start.
        first_order: leave the second derivatives out of the meta-gradient.
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
        """Those of the names that the inner loop moves. Raises ValueError for a pattern that fits none."""
        return selected(self.adapt, names, "inner_loop.adapt")


def selected(patterns: Sequence[str], names: Sequence[str], key: str) -> list[str]:
    """Those of the names that a pattern, of a key of the config, matches at their start.

    Raises ValueError for a pattern that fits none.
    """
    for pattern in patterns:
        if not any(re.match(pattern, name) for name in names):
            raise ValueError(f"{key}: no weight is named like {pattern!r}; there are {', '.join(names)}")
    return [name for name in names if any(re.match(pattern, name) for pattern in patterns)]


class AbstractNetwork(nn.Module, ABC):
    """The weights θ of the gradient family."""

    way: int | None  # number of logits; None: as many as a task needs

    @abstractmethod
    def forward(self, x: Tensor, rows: norm.Rows | None) -> Tensor:
        """Logits of inputs: (B, *X) -> (B, N)."""


class Classifier(AbstractNetwork):
    """A backbone with a linear head of `way` logits."""

    def __init__(self, backbone: AbstractBackbone, way: int) -> None:
        super().__init__()
        self.backbone, self.way = checked(backbone), way
        self.head = nn.Linear(backbone.num_features, way)

    def forward(self, x: Tensor, rows: norm.Rows | None) -> Tensor:  # (B, *X) -> (B, N)
        return self.head(self.backbone(x, rows))


def descend(params: Parameters, grads: Parameters, rate: float | Tensor) -> Parameters:
    """One step of gradient descent on those of the weights that have a gradient."""
    return params | {name: params[name] - rate * grad for name, grad in grads.items()}


class AbstractGradient(AbstractAlgorithm):
    """Adapts by steps on the support set, from the weights θ to φ; `start` and `update` are the inner optimiser.

    Args:
        network: the weights θ, called as network(x, rows) -> logits; its `way` is their number, None: as a task needs.
        execution: how the tasks of a batch are computed.
        problem: classification, paid in cross-entropy, or regression, paid in squared error.
        norm_per_step: whether batch normalisation has running averages of each inner step's own weights.
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
        self.network, self.inner_loop, self.execution = network, inner_loop, execution
        frozen = {name for name, w in network.named_parameters() if is_of_backbone(name) and not w.requires_grad}
        self.adapted = inner_loop.select([name for name, _ in network.named_parameters() if name not in frozen])

    @abstractmethod
    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, State]:
        """The weights and the state of the inner optimiser before the first step, from θ and the support set."""

    @abstractmethod
    def update(self, params: Parameters, grads: Parameters, loss: Tensor, state: State) -> tuple[Parameters, State]:
        """One inner step, from the support loss and its gradient in the adapted weights."""

    def query_loss(self, batch: Episode) -> TaskOutput:
        """Algorithm 1 of Finn et al. 2017: the mean loss of the queries, differentiable through the inner loop."""
        theta, loop = self.weights(), self.inner_loop

        def task(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Tensor, Tensor]:
            phi, _ = self.steps(theta, support_x, support_y, loop.steps, first_order=loop.first_order)[-1]  # lines 5-6
            logits = self.predict(phi, support_x, query_x)  # (Q, N)
            return self.objective.loss(logits, query_y), logits  # line 8

        output = self.mean_loss(task, batch)
        self.track_moments(batch)
        return output

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        return self.stages(support_x, support_y)[-1]

    def stages(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """The predictors after 0, 1, ..., `inner_loop.test_steps` inner steps."""
        if self.fixed_way is not None and support_y.shape[-1] != self.fixed_way:
            raise ValueError(f"the linear head predicts {self.fixed_way} ways, the task has {support_y.shape[-1]}")

        def predictor(params: Parameters) -> Predictor:
            return lambda query_x: self.predict(params, support_x, query_x)

        steps = self.steps(self.weights(), support_x, support_y, self.inner_loop.test_steps)
        return [predictor(params) for params, _ in steps]

    def weights(self) -> Parameters:
        """The initialisation θ."""
        return dict(self.network.named_parameters())

    def steps(
        self, params: Parameters, support_x: Tensor, support_y: Tensor, num_steps: int, *, first_order: bool = True
    ) -> list[tuple[Parameters, State]]:
        """The weights, and the optimiser's state, after 0, 1, ..., `num_steps` steps on (S, *X) and (S, N)."""
        return [*self.walk(params, support_x, support_y, num_steps, first_order=first_order)]

    def walk(
        self, params: Parameters, support_x: Tensor, support_y: Tensor, num_steps: int, *, first_order: bool = True
    ) -> Iterator[tuple[Parameters, State]]:
        """The same one after the other, for who needs not all of them at once."""
        params, state = self.start(params, support_x, support_y)
        yield params, state
        # The rows of an episode are in random order within their class: every n-th is a batch of all classes.
        num_batches = math.ceil(len(support_x) / (self.inner_loop.batch_size or len(support_x)))
        for step in range(num_steps):
            rows = slice(step % num_batches, None, num_batches)
            update = partial(self._step, support_x[rows], support_y[rows], first_order)
            params, state = self.execution.step(update, params, state)
            yield params, state

    def _step(
        self, support_x: Tensor, support_y: Tensor, first_order: bool, params: Parameters, state: State
    ) -> tuple[Parameters, State]:
        # Without grad mode the gradient is a constant of the outer loop, and its own graph is not kept.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not first_order):
            grads, loss = self.support_gradient(params, support_x, support_y)
        return self.update(params, grads, loss, state)

    def support_gradient(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, Tensor]:
        """Gradient in the adapted weights, and value, of the mean loss of support rows."""

        def support_loss(adapted: Parameters) -> Tensor:
            logits = functional_call(self.network, params | adapted, (support_x, self._rows()))
            return self.objective.loss(logits, support_y)

        return grad_and_value(support_loss)({name: params[name] for name in self.adapted})

    def predict(self, params: Parameters, support_x: Tensor, query_x: Tensor) -> Tensor:
        """Logits of the queries under given weights: (S, *X), (Q, *X) -> (Q, N)."""
        if self.batch_norm != "support":
            return functional_call(self.network, params, (query_x, self._rows()))
        # The queries' moments are those of the support set, which therefore goes along.
        support = support_x.shape[0]
        x = torch.cat([support_x, query_x])  # (S + Q, *X)
        return functional_call(self.network, params, (x, self._rows(support)))[support:]

    def mean_loss(self, task: OfTask, batch: Episode) -> TaskOutput:
        """The mean over the tasks of a function that gives the loss of a task, (), and the logits of its queries."""
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        return self.execution.mean_loss(task, batch, trained)

    def track_moments(self, batch: Episode) -> None:
        """Move the running averages of batch normalisation, if they are in use, by one pass at θ.

        The passes of the inner loop are pure functions, so none of them can.
        """
        if self.batch_norm == "running":
            x = torch.cat([batch.support_x, batch.query_x], dim=1).flatten(0, 1)  # (T * (S + Q), *X)
            with torch.no_grad():
                self.network(x, norm.rows("running", training=True, tasks=batch.num_tasks))

    def _rows(self, support: int | None = None) -> norm.Rows | None:
        rows = norm.rows(self.batch_norm, training=self.training, support=support)
        return rows and rows._replace(track=False)
