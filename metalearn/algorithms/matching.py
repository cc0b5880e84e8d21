"""Matching Networks.

Oriol Vinyals, Charles Blundell, Timothy Lillicrap, Koray Kavukcuoglu, Daan Wierstra. Matching
Networks for One Shot Learning. NeurIPS 2016, arXiv 1606.04080. A query attends to the support
examples by the cosine of the embeddings, and its label is the mean of their labels, weighted by the
attention. Full context embeddings condition each embedding on the support set. Inductive.
"""

import torch
from torch import Tensor, nn

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.by_class import logsumexp_by_class
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.distances import cosine_similarities
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class Matching(AbstractMetric):
    """Matching Networks of Vinyals et al. 2016.

    Args:
        backbone: network that embeds images.
        temperature: divisor of the cosines.
        fce: whether to use full context embeddings. The order of the support rows then matters, as
            in the paper.
        processing_steps: K, the number of reads of the support set under `fce`.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = Matching(
        ...     MLP([4]), temperature=0.1, processing_steps=5, batch_norm="running"
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
        temperature: float,
        fce: bool = False,
        processing_steps: int,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        check_positive(temperature=temperature)
        self.temperature = temperature
        self.compares_by_vmap = not fce  # torch.vmap does not support nn.LSTM
        width = backbone.num_features
        self.g = SupportContext(width) if fce else None
        self.f = QueryContext(width, processing_steps) if fce else None

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        if self.g is not None and self.f is not None:
            support_z = self.g(support_z)  # (S, D)
            query_z = self.f(query_z, support_z)  # (Q, D)
        attention = (cosine_similarities(query_z, support_z) / self.temperature).log_softmax(1)  # (Q, S)  section 2.1.1
        return logsumexp_by_class(attention, support_y)  # (Q, N)  logarithm of eq. 1


class SupportContext(nn.Module):
    """Support embedding g of appendix A.2: bidirectional LSTMs over the support set."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, bidirectional=True)

    def forward(self, z: Tensor) -> Tensor:  # (S, D) -> (S, D)
        forwards, backwards = self.lstm(z)[0].chunk(2, dim=1)  # (S, D), (S, D)
        return forwards + backwards + z


class QueryContext(nn.Module):
    """Query embedding f of appendix A.1: an LSTM that attends to the support set `steps` times."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        check_at_least(1, processing_steps=steps)
        self.steps = steps
        self.gates = nn.Linear(3 * width, 4 * width)

    def forward(self, z: Tensor, support: Tensor) -> Tensor:  # (Q, D), (S, D) -> (Q, D)
        h = c = torch.zeros_like(z)  # (Q, D)
        for _ in range(self.steps):
            r = (h @ support.T).softmax(1) @ support  # (Q, D)  eq. 5 and 6
            write, forget, new, read = self.gates(torch.cat([z, h, r], dim=1)).chunk(4, dim=1)  # (Q, D) each
            c = forget.sigmoid() * c + write.sigmoid() * new.tanh()
            h = read.sigmoid() * c.tanh() + z  # eq. 3 and 4
        return h
