"""The LSTM meta-learner (Meta-LSTM).

Sachin Ravi, Hugo Larochelle. Optimization as a Model for Few-Shot Learning. ICLR 2017 (no arXiv). A
step of gradient descent has the form of an LSTM's cell update. The cell is therefore the vector of
weights θ, and the learned gates decide, for each coordinate and step, how much to forget and how
far to move. Transductive as run here: batch statistics of the queries.
"""

import torch
from torch import Tensor, nn

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop
from metalearn.algorithms.parts.checks import check_at_least
from metalearn.algorithms.parts.coordinatewise import LSTM, Affine, CellState, flatten, preprocess, unflatten
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.algorithms.parts.network import Classifier
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput

State = tuple[CellState, Tensor, Tensor]
"""State of the first LSTM, and the gates f and i of the previous step, (1, P) each."""


class LSTMLearner(AbstractGradient):
    """LSTM meta-learner of Ravi and Larochelle 2017, as the inner loop of a classifier.

    Args:
        backbone: network under the linear head.
        way: number of logits of the linear head.
        hidden: number of units of the first LSTM.
        forget_bias: bias of the gate f before its sigmoid; a large bias keeps θ.
        input_bias: bias of the gate i before its sigmoid. The first inner learning rate is
            sigmoid(input_bias), in units of the mean cross-entropy.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import InnerLoop, MLP
        >>> loop = InnerLoop(steps=3, test_steps=3, first_order=True)
        >>> algorithm = LSTMLearner(
        ...     MLP([4]), way=5, hidden=20, forget_bias=5.0, input_bias=-4.5, inner_loop=loop,
        ...     batch_norm="batch"
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
        check_at_least(1, hidden=hidden)
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
        # The sigmoid runs in the precision of θ, because half precision cannot resolve a gate near
        # 1.
        forget = self.forget_gate(torch.cat([seen, theta, forget])).to(theta.dtype).sigmoid()  # f_t
        into = self.input_gate(torch.cat([seen, theta, into])).to(theta.dtype).sigmoid()  # i_t
        theta = forget * theta - into * grad  # eq. 2, with -∇ as the candidate
        return params | unflatten(theta[0], self.adapted, params), (memory, forget, into)

    def loss(self, batch: Episode) -> TaskOutput:
        return self.query_loss(batch)
