"""The learned optimiser.

Marcin Andrychowicz, Misha Denil, Sergio Gómez Colmenarejo, Matthew W. Hoffman, David Pfau, Tom
Schaul, Brendan Shillingford, Nando de Freitas. Learning to learn by gradient descent by gradient
descent. NeurIPS 2016, arXiv 1606.04474. A recurrent network, shared by all coordinates, reads the
gradients and outputs the steps. It is trained on the losses after every step. Transductive as run
here: batch statistics of the queries.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop
from metalearn.algorithms.parts.checks import check_at_least, check_choice, check_positive
from metalearn.algorithms.parts.coordinatewise import (
    LSTM,
    AbstractCell,
    Affine,
    CellState,
    Transformer,
    flatten,
    preprocess,
    unflatten,
)
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.algorithms.parts.network import Classifier
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput

CELLS: dict[str, type[LSTM | Transformer]] = {"lstm": LSTM, "transformer": Transformer}


class LearnedOptimizer(AbstractGradient):
    """Learned optimiser of Andrychowicz et al. 2016, as the inner loop of a classifier.

    Args:
        backbone: network under the linear head.
        way: number of logits of the linear head.
        cell: recurrent network m that reads the gradients.
        hidden: number of units in each layer of the cell.
        layers: number of layers of the cell.
        scale: factor of the cell's output, small so that an untrained cell takes small steps.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import InnerLoop, MLP
        >>> loop = InnerLoop(steps=3, test_steps=3, first_order=True)
        >>> algorithm = LearnedOptimizer(
        ...     MLP([4]), way=5, cell="lstm", hidden=20, layers=2, scale=0.1, inner_loop=loop,
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
        cell: Literal["lstm", "transformer"],
        hidden: int,
        layers: int,
        scale: float,
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: Moments,
        problem: Problem = "classification",
    ) -> None:
        network = Classifier(backbone, way)
        super().__init__(network, inner_loop=inner_loop, execution=execution, batch_norm=batch_norm, problem=problem)
        check_choice(CELLS, cell=cell)
        check_at_least(1, hidden=hidden, layers=layers, **{"inner_loop.steps": inner_loop.steps})
        check_positive(scale=scale)
        self.cell: AbstractCell = CELLS[cell](2, hidden=hidden, layers=layers)
        self.output, self.scale = Affine(hidden, 1), scale
        # An untrained optimiser should take small steps, whatever the range of its cell's output.
        nn.init.uniform_(self.output.linear.weight, -0.01, 0.01)
        nn.init.zeros_(self.output.linear.bias)

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, CellState]:
        return params, self.cell.start(flatten(params, self.adapted))

    def update(
        self, params: Parameters, grads: Parameters, loss: Tensor, state: CellState
    ) -> tuple[Parameters, CellState]:
        theta, grad = flatten(params, self.adapted), flatten(grads, self.adapted)  # (P,)
        seen, state = self.cell(preprocess(grad), state)  # (H, P)
        step = self.scale * self.output(seen)[0].to(theta.dtype)  # (P,)  g_t
        return params | unflatten(theta + step, self.adapted, params), state  # eq. 3

    def loss(self, batch: Episode) -> TaskOutput:
        theta, loop = self.weights(), self.inner_loop

        def task(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Tensor, Tensor]:
            _, *steps = self.steps(theta, support_x, support_y, loop.steps, first_order=loop.first_order)
            # each (Q, N)
            logits = [self.predict(params, support_x, query_x) for params, _ in steps]
            losses = [self.objective.loss(after, query_y) for after in logits]
            return torch.stack(losses).mean(), logits[-1]  # eq. 3, all w_t equal

        output = self.mean_loss(task, batch)
        self.track_moments(batch)
        return output
