"""FEAT: few-shot embedding adaptation with a transformer.

Han-Jia Ye, Hexiang Hu, De-Chuan Zhan, Fei Sha. Few-Shot Learning via Embedding Adaptation with
Set-to-Set Functions. CVPR 2020, arXiv 1812.03664. The prototypes of a task attend to each other
before they are compared with queries, so each is placed where it differs from the others. A
contrastive term keeps examples near their class. Inductive.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.distances import squared_distances
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import cross_entropy
from metalearn.types import Episode, TaskOutput


class FEAT(AbstractEmbedding):
    """FEAT of Ye et al. 2020: prototypes adapted by a set-to-set function.

    Args:
        backbone: network that embeds images.
        dropout: dropout rate of the set-to-set function in training.
        temperature: divisor of the logits.
        balance: weight of the contrastive regulariser.
        contrast_temperature: divisor of the logits of the regulariser.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = FEAT(
        ...     MLP([4]), dropout=0.5, temperature=8.0, balance=1.0, contrast_temperature=8.0,
        ...     batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        dropout: float,
        temperature: float,
        balance: float,
        contrast_temperature: float,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        check_positive(temperature=temperature, contrast_temperature=contrast_temperature)
        check_at_least(0, balance=balance)
        self.adaptation = SetToSet(backbone.num_features, dropout)
        self.temperature, self.balance, self.contrast_temperature = temperature, balance, contrast_temperature

    def loss(self, batch: Episode) -> TaskOutput:
        support_z, query_z = self.embed(batch.support_x, batch.query_x)  # (T, S, D), (T, Q, D)
        # Tasks run one by one, so that each draws dropout of its own.
        parts = zip(support_z, batch.support_y, query_z, strict=True)
        logits = torch.stack([self.compare(*task) for task in parts])  # (T, Q, N)
        loss = cross_entropy(logits, batch.query_y)
        if self.balance:
            z = torch.cat([support_z, query_z], dim=1)  # (T, S + Q, D)
            y = torch.cat([batch.support_y, batch.query_y], dim=1)  # (T, S + Q, N)
            contrast = torch.stack([self.contrast(*task) for task in zip(z, y, strict=True)])  # (T,)
            loss = loss + self.balance * contrast.mean()
        return TaskOutput(loss, logits)

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        prototypes = self.adaptation(class_means(support_z, support_y))  # (N, D)
        return -squared_distances(query_z, prototypes) / self.temperature  # (Q, N)

    def contrast(self, z: Tensor, y: Tensor) -> Tensor:
        """Computes the regulariser: (B, D), (B, N) -> ().

        It is the loss of all rows against class centres, each adapted alone.
        """
        adapted = self.adaptation(z, y @ y.T > 0)  # (B, D)
        centres = class_means(adapted, y)  # (N, D)
        return cross_entropy(-squared_distances(z, centres) / self.contrast_temperature, y)


class SetToSet(nn.Module):
    """Layer of self-attention with a residual connection.

    The order of the rows does not matter.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_normal_(linear.weight)

    def forward(self, x: Tensor, attends: Tensor | None = None) -> Tensor:
        """Adapts the rows: (B, D) -> (B, D).

        If `attends` (B, B) is given, a row attends only to the rows where it is true.
        """
        x = x.to(self.out.weight.dtype)  # the means of half-precision embeddings are float32
        scores = self.query(x) @ self.key(x).T / x.shape[1] ** 0.5  # (B, B)
        if attends is not None:
            scores = scores.masked_fill(~attends, -torch.inf)
        context = F.softmax(scores, dim=1) @ self.value(x)  # (B, D)
        return self.norm(x + self.dropout(self.out(context)))  # (B, D)
