"""Implicit MAML (iMAML).

Aravind Rajeswaran, Chelsea Finn, Sham Kakade, Sergey Levine. Meta-Learning with Implicit Gradients.
NeurIPS 2019, arXiv 1909.04630. The inner loop minimises the support loss near θ. The meta-gradient
follows from the end of the path and not from the path, so memory does not grow with the inner
steps. Transductive as published.
"""

import logging

import torch
from torch import Tensor

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop, descend
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.conjugate_gradient import dot, solve
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.algorithms.parts.network import Classifier
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput

log = logging.getLogger(__name__)


class IMAML(AbstractGradient):
    """iMAML of Rajeswaran et al. 2019.

    Args:
        backbone: network under the linear head.
        way: number of logits of the linear head.
        inner_lr: step size of the inner loop, in units of the mean loss.
        proximity: λ of eq. 3.
        cg_steps: number of steps of the conjugate gradient method.
        cg_damping: number that these steps add to λ.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import InnerLoop, MLP
        >>> loop = InnerLoop(steps=16, test_steps=16)
        >>> algorithm = IMAML(
        ...     MLP([4]), way=5, inner_lr=0.1, proximity=2.0, cg_steps=5, cg_damping=1.0,
        ...     inner_loop=loop, batch_norm="batch"
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
        proximity: float,
        cg_steps: int,
        cg_damping: float,
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: Moments,
        problem: Problem = "classification",
    ) -> None:
        network = Classifier(backbone, way)
        super().__init__(network, inner_loop=inner_loop, execution=execution, batch_norm=batch_norm, problem=problem)
        if inner_loop.first_order:
            log.warning("inner_loop.first_order=true has no effect on iMAML, which differentiates no inner step")
        check_positive(proximity=proximity)
        check_at_least(1, cg_steps=cg_steps)
        check_at_least(0, inner_lr=inner_lr, cg_damping=cg_damping)
        if frozen := [name for name, weight in self.weights().items() if not weight.requires_grad]:
            raise ValueError(
                f"imaml moves all weights, but {frozen[0]} is frozen: train the whole backbone, as by "
                "backbone.freeze=false"
            )
        if len(self.adapted) < len(self.weights()):
            raise ValueError("imaml moves all weights; inner_loop.adapt must be ['.*']")
        self.inner_lr, self.proximity = inner_lr, proximity
        self.cg_steps, self.cg_damping = cg_steps, cg_damping

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, Parameters]:
        return params, params  # φ stays near θ, the state

    def update(
        self, params: Parameters, grads: Parameters, loss: Tensor, state: Parameters
    ) -> tuple[Parameters, Parameters]:
        grads = {name: grad + self.proximity * (params[name] - state[name]) for name, grad in grads.items()}  # eq. 3
        return descend(params, grads, self.inner_lr), state

    def loss(self, batch: Episode) -> TaskOutput:
        """Computes the mean loss of the queries.

        Its gradient is the mean of the implicit gradients of the tasks.
        """
        theta = self.weights()

        def task(
            support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
        ) -> tuple[Tensor, ...]:  # Algorithm 2
            for params, _ in self.steps(theta, support_x, support_y, self.inner_loop.steps):
                phi = params  # keeps only the last step in memory

            def query_loss(params: Parameters) -> tuple[Tensor, Tensor]:
                logits = self.predict(params, support_x, query_x)  # (Q, N)
                return self.objective.loss(logits, query_y), logits

            gradient, (loss, logits) = torch.func.grad_and_value(query_loss, has_aux=True)(phi)
            meta_gradient = self.implicit(phi, gradient, support_x, support_y)
            return loss, logits, *(meta_gradient[name] for name in self.adapted)

        with torch.no_grad():
            # (T,), (T, Q, N), (T, ...) each
            losses, logits, *gradients = self.execution.map_tasks(task, batch, self.share)
        mean = {name: gradient.mean(0) for name, gradient in zip(self.adapted, gradients, strict=True)}
        self.track_moments(batch)
        here = dot(mean, {name: weight - weight.detach() for name, weight in theta.items()})  # 0, with gradient `mean`
        return TaskOutput(losses.mean() + here, logits)

    def implicit(self, phi: Parameters, gradient: Parameters, support_x: Tensor, support_y: Tensor) -> Parameters:
        """Computes (I + H / λ)⁻¹ times the gradient of the query loss, eq. 6.

        H is the Hessian of the support loss at φ.
        """

        def support_gradient(params: Parameters) -> Parameters:
            return self.support_gradient(params, support_x, support_y)[0]

        hessian = torch.func.vjp(support_gradient, phi)[1]
        weight = self.proximity + self.cg_damping

        def product(vectors: Parameters) -> Parameters:
            (image,) = hessian(vectors)  # H p, since H is symmetric
            return {name: vector + image[name] / weight for name, vector in vectors.items()}

        return solve(product, gradient, self.cg_steps)
