"""Meta-SGD.

Zhenguo Li, Fengwei Zhou, Fei Chen, Hang Li. Meta-SGD: Learning to Learn Quickly for Few-Shot Learning. 2017,
arXiv 1707.09835. MAML with a learning rate of its own for each weight, learned together with the initialisation: the
inner step has a learned direction and length. Transductive as published, like MAML.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metalearn.algorithms.gradient import AbstractGradient
from metalearn.backbones.norm import BatchNormMode
from metalearn.types import Episode, Parameters, TaskOutput


class MetaSGD(AbstractGradient):
    """`inner_lr` is the range from which each rate in α is drawn; the other arguments are those of the family."""

    def __init__(
        self,
        backbone: nn.Module,
        *,
        way: int,
        inner_lr: Sequence[float],
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
        weights = self.weights()
        # A list, because the dots in the names of weights are not allowed in a ParameterDict.
        self.alpha = nn.ParameterList(torch.empty_like(weights[name]).uniform_(*inner_lr) for name in self.adapted)

    def start(self, params: Parameters) -> Parameters:
        return dict(zip(self.adapted, self.alpha, strict=True))

    def update(
        self, params: Parameters, grads: Parameters, loss: Tensor, state: Parameters
    ) -> tuple[Parameters, Parameters]:
        return {name: params[name] - state[name] * grads[name] for name in params}, state

    def loss(self, batch: Episode) -> TaskOutput:
        return self.query_loss(batch)
