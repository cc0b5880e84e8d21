"""Reptile.

Alex Nichol, Joshua Achiam, John Schulman. On First-Order Meta-Learning Algorithms. 2018, arXiv
1803.02999. Train on a task for a few steps, and move the initialisation towards the result. There
is no query set in training, and no derivative of the inner loop. The paper's transductive option is
`batch_norm=batch`; with `support`, each query is normalised without the others.
"""

import logging

import torch
from torch import Tensor

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop, descend
from metalearn.algorithms.parts.checks import check_at_least
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.algorithms.parts.network import Classifier
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput

log = logging.getLogger(__name__)

BETA2, EPSILON = 0.999, 1e-8
"""Constants of the inner Adam.

Its beta1 is 0, because momentum would carry one task's direction into the next.
"""

AdamState = tuple[Parameters, Tensor]
"""Running second moment of each weight's gradient, and what it would be of gradients of 1, ().

After n steps that is 1 - β₂ⁿ, by which Adam divides. As a running mean it has the rounding of the
moments, and averages of weights are averages of both.
"""


class Reptile(AbstractGradient):
    """Reptile of Nichol et al. 2018.

    Training adapts to the support and the query set together, since the algorithm does not
    distinguish them.

    Args:
        backbone: network under the linear head.
        way: number of logits of the linear head.
        inner_lr: step size of the inner Adam.
        carry_moments: whether the inner Adam continues from the second moments of earlier tasks,
            also in evaluation, or restarts for each task. The tasks of a batch start from the same
            moments and leave the mean of their moments.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import InnerLoop, MLP
        >>> loop = InnerLoop(steps=5, test_steps=10, batch_size=10)
        >>> algorithm = Reptile(
        ...     MLP([4]), way=5, inner_lr=1e-3, carry_moments=True, inner_loop=loop,
        ...     batch_norm="batch"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    answers_in_training = False
    moment_of_ones: Tensor

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        way: int,
        inner_lr: float,
        carry_moments: bool,
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: Moments,
        problem: Problem = "classification",
    ) -> None:
        network = Classifier(backbone, way)
        super().__init__(network, inner_loop=inner_loop, execution=execution, batch_norm=batch_norm, problem=problem)
        check_at_least(0, inner_lr=inner_lr)
        check_at_least(1, **{"inner_loop.steps": inner_loop.steps})
        if inner_loop.first_order:
            log.warning("inner_loop.first_order=true has no effect on Reptile, which differentiates no inner step")
        self.inner_lr, self.carry_moments = inner_lr, carry_moments
        self.register_buffer("moment_of_ones", torch.zeros(()))
        for index, name in enumerate(self.adapted):
            self.register_buffer(f"moment_{index}", torch.zeros_like(self.weights()[name]))

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, AdamState]:
        # The moments are zero unless training has carried them over.
        moments = {name: self.get_buffer(f"moment_{index}") for index, name in enumerate(self.adapted)}
        return params, (moments, self.moment_of_ones)

    def update(
        self, params: Parameters, grads: Parameters, loss: Tensor, state: AdamState
    ) -> tuple[Parameters, AdamState]:
        moments, of_ones = state
        moments = {name: BETA2 * moments[name] + (1 - BETA2) * grad.square() for name, grad in grads.items()}
        of_ones = BETA2 * of_ones + (1 - BETA2)
        lengths = {name: (moment / of_ones).sqrt() + EPSILON for name, moment in moments.items()}
        directions = {name: grad / lengths[name] for name, grad in grads.items()}
        return descend(params, directions, self.inner_lr), (moments, of_ones)

    def loss(self, batch: Episode) -> TaskOutput:
        """Computes half the mean squared distance from θ to φ over the tasks.

        Its gradient is the mean of θ - φ, so a step of size 1 moves θ to the mean of φ.
        """
        theta = self.weights()

        def task(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Tensor, ...]:
            x, y = torch.cat([support_x, query_x]), torch.cat([support_y, query_y])
            for step in self.steps(theta, x, y, self.inner_loop.steps):
                phi, (moments, of_ones) = step  # keeps only the last step in memory
            return *(phi[name] for name in self.adapted), *(moments[name] for name in self.adapted), of_ones

        with torch.no_grad():
            *tensors, of_ones = self.execution.map_tasks(task, batch, self.share)
            # each (T, ...)
            phi, moments = tensors[: len(self.adapted)], tensors[len(self.adapted) :]
            if self.carry_moments:
                self.moment_of_ones.copy_(of_ones[0])
                for index, moment in enumerate(moments):
                    self.get_buffer(f"moment_{index}").copy_(moment.mean(0))
        self.track_moments(batch)
        distances = [(theta[name] - there).square().sum() for name, there in zip(self.adapted, phi, strict=True)]
        return TaskOutput(torch.stack(distances).sum() / (2 * batch.num_tasks))
