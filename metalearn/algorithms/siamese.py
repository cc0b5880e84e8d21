"""Siamese networks.

Gregory Koch, Richard Zemel, Ruslan Salakhutdinov. Siamese Neural Networks for One-shot Image
Recognition. ICML Deep Learning Workshop 2015. Twin networks learn to verify whether two images
share a class, from the weighted L1 distance of their embeddings. A query belongs to the class whose
support examples it most probably matches. Inductive.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.parts.by_class import logsumexp_by_class
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.types import Episode, TaskOutput


class Siamese(AbstractEmbedding):
    """Siamese network of Koch et al. 2015, trained to verify all pairs of support and query.

    Args:
        backbone: network that embeds images.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = Siamese(MLP([4]), batch_norm="running").eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True

    def __init__(self, backbone: AbstractBackbone, *, batch_norm: Moments) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        self.alpha = nn.Linear(backbone.num_features, 1)

    def loss(self, batch: Episode) -> TaskOutput:
        support_z, query_z = self.embed(batch.support_x, batch.query_x)  # (T, S, D), (T, Q, D)
        scores = self.verify(support_z, query_z)  # (T, Q, S)
        same = batch.query_y @ batch.support_y.mT > 0  # (T, Q, S)
        logits = torch.stack([class_log_means(*task) for task in zip(scores, batch.support_y, strict=True)])
        return TaskOutput(balanced_cross_entropy(scores, same), logits)

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return class_log_means(self.verify(support_z, query_z), support_y)

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        return log_odds(a, b, self.alpha.weight, self.alpha.bias)

    def verify(self, support_z: Tensor, query_z: Tensor) -> Tensor:
        """Computes the log-odds that query and support share a class.

        Shapes: (..., S, D), (..., Q, D) -> (..., Q, S).
        """
        # Koch et al., section 3.1, before the sigmoid.
        return self.similarity(query_z[..., :, None, :], support_z[..., None, :, :])


@at_least_float32
def log_odds(a: Tensor, b: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Computes the log-odds that pairs share a class, row by row: a weighted L1 distance.

    Shapes: (..., D), (..., D), (1, D), (1,) -> (...).
    """
    return F.linear((a - b).abs(), weight, bias).squeeze(-1)


def balanced_cross_entropy(scores: Tensor, same: Tensor) -> Tensor:
    """Computes the mean binary cross-entropy of log-odds.

    Same-class and different-class pairs weigh half each.
    """
    together = F.logsigmoid(scores).masked_fill(~same, 0).sum() / same.sum()
    apart = F.logsigmoid(-scores).masked_fill(same, 0).sum() / (~same).sum()
    return -(together + apart) / 2


def class_log_means(scores: Tensor, support_y: Tensor) -> Tensor:
    """Computes the log of the mean probability over the shots of each class.

    Shapes: log-odds (Q, S), labels (S, N) -> (Q, N).
    """
    return logsumexp_by_class(F.logsigmoid(scores), support_y) - support_y.sum(0).log()
