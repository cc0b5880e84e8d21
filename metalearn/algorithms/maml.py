"""Model-Agnostic Meta-Learning (MAML), with FOMAML, ANIL and BOIL as settings of it.

Chelsea Finn, Pieter Abbeel, Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.
ICML 2017, arXiv 1703.03400. Learn an initialisation from which a few gradient steps on a support set do well on the
queries, by differentiating through those steps. Transductive as published: batch statistics of the queries.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from metalearn.algorithms.gradient import AbstractGradient
from metalearn.backbones.norm import BatchNormMode
from metalearn.types import Episode, Parameters, TaskOutput


class MAML(AbstractGradient):
    """`inner_lr` is α of eq. 1, in units of the mean cross-entropy; the other arguments are those of the family."""

    def __init__(
        self,
        backbone: nn.Module,
        *,
        way: int,
        inner_lr: float,
        inner_steps: int,
        test_inner_steps: int,
        first_order: bool,
        adapt: Sequence[str],
        batch_norm: BatchNormMode,
        vmap: bool | None,
    ) -> None:
        super().__init__(
            backbone,
            way=way,
            adapt=adapt,
            inner_steps=inner_steps,
            test_inner_steps=test_inner_steps,
            first_order=first_order,
            batch_norm=batch_norm,
            vmap=vmap,
        )
        self.inner_lr = inner_lr

    def start(self, params: Parameters) -> tuple[()]:
        return ()

    def update(
        self, params: Parameters, grads: Parameters, loss: Tensor, state: tuple[()]
    ) -> tuple[Parameters, tuple[()]]:
        return {name: params[name] - self.inner_lr * grads[name] for name in params}, state  # eq. 1

    def loss(self, batch: Episode) -> TaskOutput:
        return self.query_loss(batch)  # Algorithm 1, line 8
