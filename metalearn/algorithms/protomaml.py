"""ProtoMAML.

Eleni Triantafillou, Tyler Zhu, Vincent Dumoulin and others. Meta-Dataset: A Dataset of Datasets for
Learning to Learn from Few Examples. ICLR 2020, arXiv 1903.03096. MAML whose linear head starts as
the prototypical network of the task. The head therefore has no meta-learned weights, works for any
number of ways, and does not depend on the order of the classes. Transductive by default.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop, descend
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_at_least
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.algorithms.parts.functional import functional_call
from metalearn.algorithms.parts.network import AbstractNetwork
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone, checked
from metalearn.types import Episode, Parameters, TaskOutput


class Headless(AbstractNetwork):
    """Backbone with a slot for the linear head of a task; without a head it embeds."""

    def __init__(self, backbone: AbstractBackbone) -> None:
        super().__init__()
        self.backbone, self.way = checked(backbone), None
        self.head_weight = nn.Parameter(torch.empty(0), requires_grad=False)  # (N, D)
        self.head_bias = nn.Parameter(torch.empty(0), requires_grad=False)  # (N,)

    def forward(self, x: Tensor, rows: norm.Rows | None) -> Tensor:  # (B, *X) -> (B, N), or (B, D)
        z = self.backbone(x, rows)
        return head(z, self.head_weight, self.head_bias) if len(self.head_weight) else z


head = at_least_float32(F.linear)  # its bias can be far larger than the differences between logits


class ProtoMAML(AbstractGradient):
    """ProtoMAML of Triantafillou et al. 2020.

    Args:
        backbone: network under the linear head.
        inner_lr: step size for all adapted weights and the head, in units of the mean
            cross-entropy.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import InnerLoop, MLP
        >>> loop = InnerLoop(steps=1, test_steps=3)
        >>> algorithm = ProtoMAML(
        ...     MLP([4]), inner_lr=0.1, inner_loop=loop, batch_norm="batch"
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
        inner_lr: float,
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: norm.Moments,
    ) -> None:
        network = Headless(backbone)
        super().__init__(network, inner_loop=inner_loop, execution=execution, batch_norm=batch_norm)
        check_at_least(0, inner_lr=inner_lr)
        self.inner_lr = inner_lr

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, None]:
        z = functional_call(self.network, params, (support_x, self.rows(track=False)))  # (S, D)
        c = class_means(z, support_y)  # (N, D)
        # -|z - c|² = 2 c z - |c|² - |z|², and all classes share the last term.
        return params | {"head_weight": 2 * c, "head_bias": -c.square().sum(1)}, None

    def update(self, params: Parameters, grads: Parameters, loss: Tensor, state: None) -> tuple[Parameters, None]:
        return descend(params, grads, self.inner_lr), None

    def loss(self, batch: Episode) -> TaskOutput:
        return self.query_loss(batch)
