"""In-context learning of a new task, by Context-Aware Meta-Learning (CAML).

Christopher Fifty, Dennis Duan, Ronald Junkins, Ehsan Amid, Jure Leskovec, Christopher Ré, Sebastian
Thrun. Context-Aware Meta-Learning. ICLR 2024, arXiv 2310.10971. A transformer without positions
reads the labelled support rows and one unlabelled query, and predicts the query's label. No weight
moves in a test. Inductive: each query is read alone.
"""

import torch
from torch import Tensor, nn

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.attention import Layer
from metalearn.algorithms.parts.checks import check_at_least
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import Problem


class InContext(AbstractMetric):
    """In-context learning of Fifty et al. 2024.

    Args:
        backbone: network that embeds images, points or rows of a table.
        way: number of labels, or outputs of a regression.
        width: W, the width of the transformer.
        layers: number of its layers.
        heads: number of its attention heads.
        batch_norm: moments of batch normalisation.
        problem: classification or regression, whose targets are the labels (Garg et al. 2022).

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = InContext(
        ...     MLP([4]), way=5, width=128, layers=4, heads=4, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    labels: Tensor
    compares_by_vmap = True

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        way: int,
        width: int,
        layers: int,
        heads: int,
        batch_norm: Moments,
        problem: Problem = "classification",
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm, fixed_way=way, problem=problem)
        check_at_least(1, width=width, layers=layers)
        labels = simplex(way) if problem == "classification" else torch.eye(way)  # (N, N)
        self.register_buffer("labels", labels, persistent=False)
        self.unknown = nn.Parameter(torch.zeros(way))  # the label of a query
        self.token = nn.Linear(backbone.num_features + way, width)
        self.layers = nn.Sequential(*(Layer(width, heads, residuals=2 * layers) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, way)

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        queries = query_z.shape[0]
        support = torch.cat([support_z, support_y @ self.labels], dim=1)  # (S, D + N)
        query = torch.cat([query_z, self.unknown.expand(queries, -1)], dim=1)  # (Q, D + N)
        rows = torch.cat([query[:, None], support.expand(queries, -1, -1)], dim=1)  # (Q, 1 + S, D + N)
        read = self.layers(self.token(rows))  # (Q, 1 + S, W)
        return self.head(self.norm(read[:, 0]))  # (Q, N)


def simplex(way: int) -> Tensor:
    """Returns labels (N, N), a row for each class, of unit length and with the largest distances.

    They are an Equal Length and Maximally Equiangular Set of vectors (ELMES); section 4.2 shows
    that such labels are optimal.
    """
    centred = torch.eye(way) - 1 / way
    return centred / centred.norm(dim=1, keepdim=True)
