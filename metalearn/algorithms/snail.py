"""Simple Neural Attentive Learner (SNAIL).

Nikhil Mishra, Mostafa Rohaninejad, Xi Chen, Pieter Abbeel. A Simple Neural Attentive Meta-Learner.
ICLR 2018, arXiv 1707.03141. A task is a sequence: the labelled support rows, then one unlabelled
query. Temporal convolutions gather the past, and causal attention looks up single rows of it.
Inductive: each query ends its own sequence.

L  rows of a sequence    C  channels
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.checks import check_at_least
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class SNAIL(AbstractMetric):
    """SNAIL of Mishra et al. 2018.

    Args:
        backbone: network that embeds images.
        way: number of labels.
        width: width of an embedded image.
        filters: width of each temporal convolution.
        support: number of support rows that the convolutions, together, reach over.
        attention: widths of keys and values of the three attention blocks.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = SNAIL(
        ...     MLP([4]), way=5, width=64, filters=128, support=5,
        ...     attention=[[8, 4], [8, 4], [8, 4]], batch_norm="running"
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
        way: int,
        width: int,
        filters: int,
        support: int,
        attention: list[list[int]],
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm, fixed_way=way)
        check_at_least(1, width=width, filters=filters, support=support)
        if len(attention) != 3 or any(len(widths) != 2 or min(widths) < 1 for widths in attention):
            raise ValueError(f"attention={attention} must be three pairs of the widths of keys and values")
        self.embedding = nn.Linear(backbone.num_features, width)
        span = support + 1
        channels, blocks = width + way, list[nn.Module]()
        for index, (keys, values) in enumerate(attention):
            blocks.append(AttentionBlock(channels, keys, values))
            channels += values
            if index < 2:
                blocks.append(TemporalBlock(channels, filters, span))
                channels += filters * (span - 1).bit_length()
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, way)

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        queries = query_z.shape[0]
        # Sorts the rows by class, so that the order of the classes in the episode does not matter.
        order = support_y.argmax(1).argsort(stable=True)  # (S,)
        support = torch.cat([self.embedding(support_z), support_y], dim=1)[order]  # (S, C)
        query = torch.cat([self.embedding(query_z), query_z.new_zeros(queries, support_y.shape[1])], dim=1)  # (Q, C)
        rows = torch.cat([support.expand(queries, -1, -1), query[:, None]], dim=1)  # (Q, S + 1, C)
        return self.head(self.blocks(rows)[:, -1])  # (Q, N)


class DenseBlock(nn.Module):
    """Causal convolution over two rows, `dilation` apart, concatenated to its input."""

    def __init__(self, channels: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.now, self.before = nn.Linear(channels, 2 * filters), nn.Linear(channels, 2 * filters, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (.., L, C) -> (.., L, C + filters)
        earlier = F.pad(x, (0, 0, self.dilation, 0))[..., : x.shape[-2], :]  # zeros before the first row
        content, gate = (self.now(x) + self.before(earlier)).chunk(2, dim=-1)
        return torch.cat([x, content.tanh() * gate.sigmoid()], dim=-1)


class TemporalBlock(nn.Sequential):
    """Dense blocks with dilations 1, 2, 4, ..., which together reach over `span` rows."""

    def __init__(self, channels: int, filters: int, span: int) -> None:
        dilations = [2**power for power in range((span - 1).bit_length())]
        super().__init__(*(DenseBlock(channels + i * filters, filters, d) for i, d in enumerate(dilations)))


class AttentionBlock(nn.Module):
    """Causal attention with one head, concatenated to its input."""

    def __init__(self, channels: int, keys: int, values: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(channels, width) for width in (keys, keys, values))

    def forward(self, x: Tensor) -> Tensor:  # (.., L, C) -> (.., L, C + values)
        scores = self.query(x) @ self.key(x).transpose(-2, -1) / self.key.out_features**0.5  # (.., L, L)
        later = torch.ones_like(scores[0]).triu(1).bool()
        read = scores.masked_fill(later, float("-inf")).softmax(-1) @ self.value(x)
        return torch.cat([x, read], dim=-1)
