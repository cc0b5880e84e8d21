"""The LSTM meta-learner (Meta-LSTM).

Sachin Ravi, Hugo Larochelle. Optimization as a Model for Few-Shot Learning. ICLR 2017 (no arXiv). A step of gradient
descent looks like the update of an LSTM's cell: so let the cell be the weights θ, and learn its gates, which decide for
each coordinate and step how much to forget and how far to go. Transductive as run here: batch statistics of the
queries.
"""

import torch
from torch import Tensor, nn

from metalearn.algorithms.gradient import AbstractGradient, Classifier, InnerLoop
from metalearn.algorithms.parts.coordinatewise import LSTM, Affine, flatten, preprocess, unflatten
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput

State = tuple[tuple[tuple[Tensor, Tensor], ...], Tensor, Tensor]
"""Of the first LSTM, and the gates f and i of the step before, (1, P) each."""


class LSTMLearner(AbstractGradient):
    """`hidden` is the width of the first LSTM; `way` the number of logits of the linear head.

    Args:
        forget_bias: of the gate f before its sigmoid; large: θ is kept.
        input_bias: of the gate i before its sigmoid; sigmoid(input_bias) is the inner learning rate at first, in units
            of the mean cross-entropy.
    """

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        way: int,
        hidden: int,
        forget_bias: float,
        input_bias: float,
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: Moments,
        problem: Problem = "classification",
    ) -> None:
        network = Classifier(backbone, way)
        super().__init__(network, inner_loop=inner_loop, execution=execution, batch_norm=batch_norm, problem=problem)
        self.lstm = LSTM(4, hidden=hidden, layers=1)
        self.forget_gate, self.input_gate = Affine(hidden + 2, 1), Affine(hidden + 2, 1)
        for gate, bias in ((self.forget_gate, forget_bias), (self.input_gate, input_bias)):
            nn.init.uniform_(gate.linear.weight, -0.01, 0.01)
            nn.init.constant_(gate.linear.bias, bias)

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, State]:
        theta = flatten(params, self.adapted)  # (P,)
        gate = torch.zeros_like(theta)[None]
        return params, (self.lstm.start(theta), gate, gate)

    def update(self, params: Parameters, grads: Parameters, loss: Tensor, state: State) -> tuple[Parameters, State]:
        memory, forget, into = state
        theta, grad = flatten(params, self.adapted)[None], flatten(grads, self.adapted)[None]  # (1, P)
        seen = torch.cat([preprocess(grad[0]), preprocess(loss.expand_as(grad[0]))])  # (4, P)
        seen, memory = self.lstm(seen, memory)  # (H, P)
        # In the precision of θ: a gate near 1 has none to spare.
        forget = self.forget_gate(torch.cat([seen, theta, forget])).to(theta.dtype).sigmoid()  # f_t
        into = self.input_gate(torch.cat([seen, theta, into])).to(theta.dtype).sigmoid()  # i_t
        theta = forget * theta - into * grad  # eq. 2, with the candidate -∇
        return params | unflatten(theta[0], self.adapted, params), (memory, forget, into)

    def loss(self, batch: Episode) -> TaskOutput:
        return self.query_loss(batch)
