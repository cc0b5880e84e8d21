"""Meta-SGD.

Zhenguo Li, Fengwei Zhou, Fei Chen, Hang Li. Meta-SGD: Learning to Learn Quickly for Few-Shot
Learning. 2017, arXiv 1707.09835. MAML learns a separate learning rate for each weight, together
with the initialisation. The inner step thus has a learned direction and length. Transductive as
published, like MAML.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.algorithms.parts.network import Classifier
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput


class MetaSGD(AbstractGradient):
    """Meta-SGD of Li et al. 2017.

    Args:
        backbone: network under the linear head.
        way: number of logits of the linear head.
        inner_lr: two bounds of the uniform draw of each rate in α, the smaller first, in units of
            the mean cross-entropy.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import InnerLoop, MLP
        >>> loop = InnerLoop(steps=1, test_steps=3)
        >>> algorithm = MetaSGD(
        ...     MLP([4]), way=5, inner_lr=[0.005, 0.1], inner_loop=loop, batch_norm="batch"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        way: int,
        inner_lr: Sequence[float],
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: Moments,
        problem: Problem = "classification",
    ) -> None:
        if not isinstance(inner_lr, Sequence) or len(inner_lr) != 2 or not 0 <= inner_lr[0] <= inner_lr[1]:
            raise ValueError(f"inner_lr={inner_lr} must be two numbers, the smaller first, none of them negative")
        network = Classifier(backbone, way)
        super().__init__(network, inner_loop=inner_loop, execution=execution, batch_norm=batch_norm, problem=problem)
        theta = self.weights()
        # The rates are a list, because a ParameterDict does not accept the dots in weight names.
        self.alpha = nn.ParameterList(torch.empty_like(theta[name]).uniform_(*inner_lr) for name in self.adapted)

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, Parameters]:
        return params, dict(zip(self.adapted, self.alpha, strict=True))

    def update(
        self, params: Parameters, grads: Parameters, loss: Tensor, state: Parameters
    ) -> tuple[Parameters, Parameters]:
        return params | {name: params[name] - state[name] * grad for name, grad in grads.items()}, state

    def loss(self, batch: Episode) -> TaskOutput:
        return self.query_loss(batch)
