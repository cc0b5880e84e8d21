"""Implicit MAML (iMAML).

Aravind Rajeswaran, Chelsea Finn, Sham Kakade, Sergey Levine. Meta-Learning with Implicit Gradients. NeurIPS 2019,
arXiv 1909.04630. The inner loop minimises the support loss near θ; the meta-gradient follows from the place where it
arrives and not from the path, so that memory does not grow with the inner steps. Transductive as published.
"""

from collections import deque

import torch
from torch import Tensor

from metalearn.algorithms.gradient import AbstractGradient, Classifier, InnerLoop, descend
from metalearn.algorithms.parts.conjugate_gradient import dot, solve
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput


class IMAML(AbstractGradient):
    """`proximity` is λ of eq. 3, `cg_steps` those of the conjugate gradient method, which add `cg_damping` to it.

    `inner_lr` is the step of the inner loop, in units of the mean loss; `way` the number of logits of the linear head.
    """

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
        if not proximity > 0:
            raise ValueError(f"proximity={proximity} must be positive")
        if cg_steps < 1:
            raise ValueError(f"cg_steps={cg_steps} must be at least 1")
        if cg_damping < 0:
            raise ValueError(f"cg_damping={cg_damping} must not be negative")
        if len(self.adapted) < len(self.weights()):
            raise ValueError("imaml moves all weights; inner_loop.adapt must be ['.*']")
        self.inner_lr, self.proximity = inner_lr, proximity
        self.cg_steps, self.cg_damping = cg_steps, cg_damping

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, Parameters]:
        return params, params  # θ is where φ is to stay near

    def update(
        self, params: Parameters, grads: Parameters, loss: Tensor, state: Parameters
    ) -> tuple[Parameters, Parameters]:
        grads = {name: grad + self.proximity * (params[name] - state[name]) for name, grad in grads.items()}  # eq. 3
        return descend(params, grads, self.inner_lr), state

    def loss(self, batch: Episode) -> TaskOutput:
        """The mean loss of the queries; its gradient is the mean over the tasks of the implicit ones."""
        theta = self.weights()

        def task(
            support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
        ) -> tuple[Tensor, ...]:  # Algorithm 2
            phi = self.arrive(theta, support_x, support_y)

            def query_loss(params: Parameters) -> tuple[Tensor, Tensor]:
                logits = self.predict(params, support_x, query_x)  # (Q, N)
                return self.objective.loss(logits, query_y), logits

            gradient, (loss, logits) = torch.func.grad_and_value(query_loss, has_aux=True)(phi)
            meta_gradient = self.implicit(phi, gradient, support_x, support_y)
            return loss, logits, *(meta_gradient[name] for name in self.adapted)

        with torch.no_grad():
            losses, logits, *gradients = self.execution.map_tasks(task, batch)  # (T,), (T, Q, N), (T, ...) each
        mean = {name: gradient.mean(0) for name, gradient in zip(self.adapted, gradients, strict=True)}
        self.track_moments(batch)
        here = dot(mean, {name: weight - weight.detach() for name, weight in theta.items()})  # 0, of gradient `mean`
        return TaskOutput(losses.mean() + here, logits)

    def arrive(self, theta: Parameters, support_x: Tensor, support_y: Tensor) -> Parameters:
        """φ after the inner steps of the training, of which none is kept."""
        (last,) = deque(self.walk(theta, support_x, support_y, self.inner_loop.steps), maxlen=1)
        return last[0]

    def implicit(self, phi: Parameters, gradient: Parameters, support_x: Tensor, support_y: Tensor) -> Parameters:
        """(I + H / λ)⁻¹ times the gradient of the query loss, eq. 6, with the Hessian H of the support loss at φ."""

        def support_gradient(params: Parameters) -> Parameters:
            return self.support_gradient(params, support_x, support_y)[0]

        hessian = torch.func.vjp(support_gradient, phi)[1]
        weight = self.proximity + self.cg_damping

        def product(one: Parameters) -> Parameters:
            (image,) = hessian(one)  # H p, since H is symmetric
            return {name: vector + image[name] / weight for name, vector in one.items()}

        return solve(product, gradient, self.cg_steps)
