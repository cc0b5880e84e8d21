"""Attentive Neural Processes (ANP), the deterministic path.

Hyunjik Kim, Andriy Mnih, Jonathan Schwarz, Marta Garnelo, Ali Eslami, Dan Rosenbaum, Oriol Vinyals, Yee Whye Teh.
Attentive Neural Processes. ICLR 2019, arXiv 1901.05761. A CNP in which each query attends to the support points, so
that it follows those near it and does not see their mean alone. Inductive.
"""

from torch import Tensor, nn

from metalearn.algorithms.neural_process import AbstractNeuralProcess
from metalearn.algorithms.parts.attention import Attention
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem


class ANP(AbstractNeuralProcess):
    """`heads` of the cross attention; `way` and `width` are those of `AbstractNeuralProcess`."""

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
        self.place = nn.Linear(backbone.num_features, width)  # of a point, by which it is looked up
        self.attention = Attention(width, heads)

    def read(self, support_z: Tensor, representations: Tensor, query_z: Tensor) -> Tensor:
        return self.attention(self.place(query_z), self.place(support_z), representations)  # section 3.2
