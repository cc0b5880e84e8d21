"""Attentive Neural Processes (ANP), the deterministic path.

Hyunjik Kim, Andriy Mnih, Jonathan Schwarz, Marta Garnelo, Ali Eslami, Dan Rosenbaum, Oriol Vinyals,
Yee Whye Teh. Attentive Neural Processes. ICLR 2019, arXiv 1901.05761. Each query of a CNP attends
to the support points, so it follows the points near it instead of their mean alone. Inductive.
"""

from torch import Tensor, nn

from metalearn.algorithms.neural_process import AbstractNeuralProcess
from metalearn.algorithms.parts.attention import Attention
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem


class ANP(AbstractNeuralProcess):
    """Attentive Neural Processes of Kim et al. 2019.

    Args:
        backbone: network that embeds places.
        way: outputs of a regression, or ways.
        width: R, and the width of the hidden layers.
        heads: number of heads of the cross attention.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = ANP(
        ...     MLP([1]), way=1, width=128, heads=8, batch_norm="running", problem="regression"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(10, 1), torch.randn(10, 1))  # 10 points
        >>> predict(torch.randn(15, 1)).shape  # mean and deviation
        torch.Size([15, 2])
    """

    replayable = True

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        way: int,
        width: int,
        heads: int,
        batch_norm: Moments,
        problem: Problem = "classification",
    ) -> None:
        super().__init__(backbone, way=way, width=width, batch_norm=batch_norm, problem=problem)
        self.place = nn.Linear(backbone.num_features, width)  # key of a point
        self.attention = Attention(width, heads)

    def read(self, support_z: Tensor, representations: Tensor, query_z: Tensor) -> Tensor:
        return self.attention(self.place(query_z), self.place(support_z), representations)  # section 3
