"""The gradient family: optimise a copy of the weights on the support set, with torch.func."""

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones import norm
from metalearn.losses import cross_entropy
from metalearn.types import Episode, Parameters, Predictor, TaskOutput

State = Any
"""What the inner optimiser carries from step to step: any nesting of tensors, () for none."""


class Classifier(nn.Module):
    """A backbone with a linear head of `way` logits."""

    def __init__(self, backbone: nn.Module, way: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.num_features, way)  # type: ignore[arg-type]

    def forward(self, x: Tensor, rows: norm.Rows | None) -> Tensor:  # (B, *X) -> (B, N)
        return self.head(self.backbone(x, rows))


class AbstractGradient(AbstractAlgorithm):
    """Adapts by gradient steps on the support set, from the weights θ to φ; `start` and `update` are one step.

    Args:
        backbone: module with `num_features`, called as backbone(x, rows).
        way: number of logits of the linear head, in training and at test.
        adapt: regular expressions; the inner loop moves the weights whose name one of them matches at its start.
        first_order: leave the second derivatives out of the meta-gradient.
        inner_steps: number of steps in training. test_inner_steps: the same at meta-val and meta-test.
        vmap: whether the tasks of a batch go through the loss together, or one after the other; None: together on an
            accelerator, which one small task cannot fill.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        way: int,
        adapt: Sequence[str],
        inner_steps: int,
        test_inner_steps: int,
        first_order: bool,
        batch_norm: norm.BatchNormMode,
        vmap: bool | None,
    ) -> None:
        super().__init__(batch_norm=batch_norm, fixed_way=way)
        self.network = Classifier(backbone, way)
        self.inner_steps, self.test_inner_steps = inner_steps, test_inner_steps
        self.first_order, self.vmap = first_order, vmap
        if min(inner_steps, test_inner_steps) < 0:
            raise ValueError(f"inner_steps={inner_steps} and test_inner_steps={test_inner_steps} must not be negative")
        names = [name for name, _ in self.network.named_parameters()]
        for pattern in adapt:
            if not any(re.match(pattern, name) for name in names):
                raise ValueError(f"adapt: no weight's name matches {pattern!r}; the names are {', '.join(names)}")
        self.adapted = [name for name in names if any(re.match(pattern, name) for pattern in adapt)]

    @abstractmethod
    def start(self, params: Parameters) -> State:
        """The state of the inner optimiser before the first step."""

    @abstractmethod
    def update(self, params: Parameters, grads: Parameters, loss: Tensor, state: State) -> tuple[Parameters, State]:
        """One inner step on the adapted weights, from the gradient and value of the support loss."""

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        return self.adapt_by_steps(support_x, support_y)[-1]

    def adapt_by_steps(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """The predictors after 0, 1, ..., `test_inner_steps` inner steps."""
        if support_y.shape[-1] != self.fixed_way:
            raise ValueError(f"the linear head predicts {self.fixed_way} ways, the task has {support_y.shape[-1]}")

        def predictor(params: Parameters) -> Predictor:
            return lambda query_x: self.predict(params, support_x, query_x)

        path = self.inner_loop(self.weights(), support_x, support_y, self.test_inner_steps)
        return [predictor(params) for params in path]

    def weights(self) -> Parameters:
        """The initialisation θ."""
        return dict(self.network.named_parameters())

    def inner_loop(self, params: Parameters, support_x: Tensor, support_y: Tensor, num_steps: int) -> list[Parameters]:
        """The weights after 0, 1, ..., `num_steps` steps on one support set, (S, *X) and (S, N)."""

        def support_loss(adapted: Parameters) -> Tensor:
            logits = functional_call(self.network, params | adapted, (support_x, self._rows()))
            return cross_entropy(logits, support_y)

        path = [params]
        adapted = {name: params[name] for name in self.adapted}
        state = self.start(adapted)
        for _ in range(num_steps):
            # Without grad mode the gradient is a constant of the outer loop, and its own graph is not kept.
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.first_order):
                grads, loss = grad_and_value(support_loss)(adapted)
            adapted, state = self.update(adapted, grads, loss, state)
            path.append(params | adapted)
        return path

    def predict(self, params: Parameters, support_x: Tensor, query_x: Tensor) -> Tensor:
        """Logits of the queries under given weights: (S, *X), (Q, *X) -> (Q, N)."""
        if self.batch_norm != "support":
            return functional_call(self.network, params, (query_x, self._rows()))
        # The queries' moments are those of the support set, which therefore goes along.
        support = support_x.shape[0]
        x = torch.cat([support_x, query_x])  # (S + Q, *X)
        return functional_call(self.network, params, (x, self._rows(support)))[support:]

    def query_loss(self, batch: Episode) -> TaskOutput:
        """The mean loss of the queries under the adapted weights, differentiable through the inner loop."""
        theta = self.weights()

        def task(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Tensor, Tensor]:
            phi = self.inner_loop(theta, support_x, support_y, self.inner_steps)[-1]
            logits = self.predict(phi, support_x, query_x)  # (Q, N)
            return cross_entropy(logits, query_y), logits

        losses, logits = self.map_tasks(task, batch)  # (T,), (T, Q, N)
        self.track_moments(batch)
        return TaskOutput(losses.mean(), logits)

    def map_tasks(self, function: Callable[..., tuple[Tensor, ...]], batch: Episode) -> tuple[Tensor, ...]:
        """`function(support_x, support_y, query_x, query_y)` of every task, each result stacked to (T, ...)."""
        together = batch.query_x.device.type != "cpu" if self.vmap is None else self.vmap
        if together:
            return torch.vmap(function)(*batch)
        return tuple(map(torch.stack, zip(*(function(*task) for task in batch.tasks()), strict=True)))

    def track_moments(self, batch: Episode) -> None:
        """Move the running averages of batch normalisation, if they are in use, by one pass at θ.

        The passes under torch.func are pure, so none of them can.
        """
        if self.batch_norm == "running":
            x = torch.cat([batch.support_x, batch.query_x], dim=1).flatten(0, 1)  # (T * (S + Q), *X)
            with torch.no_grad():
                self.network(x, norm.rows("running", training=True, tasks=batch.num_tasks))

    def _rows(self, support: int | None = None) -> norm.Rows | None:
        rows = norm.rows(self.batch_norm, training=self.training, support=support)
        return rows and rows._replace(track=False)
