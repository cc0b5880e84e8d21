"""Memory of keys, values and ages, for rare events.

Łukasz Kaiser, Ofir Nachum, Aurko Roy, Samy Bengio. Learning to Remember Rare Events. ICLR 2017,
arXiv 1703.03129. The memory keeps a row with its embedding as key and its label as value. The
nearest key answers a query. Inductive.

L  rows of a stream    M  slots of the memory    N  ways, one-hot values
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.parts import key_value
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.streams import instances, mixed_order, rearranged
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone
from metalearn.types import Episode, TaskOutput


class KeyValueMemory(AbstractEmbedding):
    """Key-value memory of Kaiser et al. 2017.

    Args:
        backbone: network that embeds inputs.
        slots: M, the size of the memory.
        margin: α of eq. 1.
        inverse_temperature: t of the confidence.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = KeyValueMemory(
        ...     MLP([4]), slots=8192, margin=0.1, inverse_temperature=40.0, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        slots: int,
        margin: float,
        inverse_temperature: float,
        batch_norm: norm.Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        check_at_least(1, slots=slots)
        check_positive(margin=margin, inverse_temperature=inverse_temperature)
        self.slots, self.margin, self.inverse_temperature = slots, margin, inverse_temperature

    def loss(self, batch: Episode) -> TaskOutput:
        z = torch.cat(self.embed(batch.support_x, batch.query_x), dim=1)  # (T, L, D)
        y = torch.cat([batch.support_y, batch.query_y], dim=1)  # (T, L, N)
        order = mixed_order(batch)  # (T, L)
        scores = self.follow(rearranged(z, order), rearranged(y, order))  # (T, L, N)
        scores = rearranged(scores, order.argsort(1))  # restores the order of the batch
        queries = scores[:, batch.support_y.shape[1] :]  # (T, Q, N)
        return TaskOutput(margin_loss(scores, y, self.margin), self.inverse_temperature * queries)

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        support_z, query_z = F.normalize(support_z, dim=1), F.normalize(query_z, dim=1)
        order = instances(support_y).argsort(stable=True)  # (S,)  one of each class, then a second, and so on
        memory = key_value.empty(support_z[None], support_y[None], slots=self.slots)
        for z, y in zip(support_z[order], support_y[order], strict=True):
            memory = key_value.update(memory, z[None], y[None])
        return self.inverse_temperature * key_value.scores(memory, query_z[None])[0]  # (Q, N)

    @at_least_float32
    def follow(self, z: Tensor, y: Tensor) -> Tensor:
        """Scores each row by the memory of the rows before it.

        Shapes: (T, L, D), (T, L, N) -> (T, L, N).
        """
        z = F.normalize(z, dim=-1)
        memory = key_value.empty(z, y, slots=self.slots)
        scores = []
        for row in range(z.shape[1]):
            scores.append(key_value.scores(memory, z[:, row : row + 1])[:, 0])
            memory = key_value.update(memory, z[:, row].detach(), y[:, row])  # no gradient reaches the keys
        return torch.stack(scores, dim=1)


def margin_loss(scores: Tensor, y: Tensor, margin: float) -> Tensor:
    """Computes the mean of [q K[n_b] - q K[n_p] + α]₊, eq. 1: (T, L, N) twice -> ().

    n_p is the nearest key of the class of a row, n_b the nearest of another class. Rows without
    both do not count; the mean over no rows is 0.
    """
    own = (scores * y).sum(-1)  # (T, L)
    other = scores.masked_fill(y.bool(), key_value.ABSENT).amax(-1)  # (T, L)
    both = (own > key_value.ABSENT) & (other > key_value.ABSENT)
    return (F.relu(other - own + margin) * both).sum() / both.sum().clamp_min(1)
