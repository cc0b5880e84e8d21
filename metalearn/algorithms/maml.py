"""Model-Agnostic Meta-Learning (MAML), with FOMAML, ANIL and BOIL as settings.

Chelsea Finn, Pieter Abbeel, Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep
Networks. ICML 2017, arXiv 1703.03400. Learn an initialisation from which a few gradient steps on a
support set do well on the queries, by differentiating through those steps. Transductive as
published: batch statistics of the queries.
"""

from torch import Tensor

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop, descend
from metalearn.algorithms.parts.checks import check_at_least
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.algorithms.parts.network import Classifier
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput


class MAML(AbstractGradient):
    """MAML of Finn et al. 2017.

    Args:
        backbone: network under the linear head.
        way: number of logits of the linear head.
        inner_lr: α of eq. 1, in units of the mean cross-entropy.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import InnerLoop, MLP
        >>> loop = InnerLoop(steps=1, test_steps=3)
        >>> algorithm = MAML(
        ...     MLP([4]), way=5, inner_lr=0.4, inner_loop=loop, batch_norm="batch"
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
        inner_lr: float,
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: Moments,
        problem: Problem = "classification",
    ) -> None:
        network = Classifier(backbone, way)
        super().__init__(network, inner_loop=inner_loop, execution=execution, batch_norm=batch_norm, problem=problem)
        check_at_least(0, inner_lr=inner_lr)
        self.inner_lr = inner_lr

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, None]:
        return params, None

    def update(self, params: Parameters, grads: Parameters, loss: Tensor, state: None) -> tuple[Parameters, None]:
        return descend(params, grads, self.inner_lr), None  # eq. 1

    def loss(self, batch: Episode) -> TaskOutput:
        return self.query_loss(batch)  # Algorithm 1, line 8
