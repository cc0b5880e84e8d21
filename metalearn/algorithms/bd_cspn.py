"""Bias-diminishing cosine similarity prototypical network (BD-CSPN).

Jinlu Liu, Liang Song, Yongqiang Qin. Prototype Rectification for Few-Shot Learning. ECCV 2020,
arXiv 1911.10713. Shift the queries onto the support set, and label each with its nearest class. A
prototype is the weighted mean of all rows of a class. Transductive.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractClassifier
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_positive
from metalearn.algorithms.parts.distances import cosine_similarities
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class BDCSPN(AbstractClassifier):
    """BD-CSPN of Liu et al. 2020.

    Args:
        backbone: network that embeds images.
        sharpness: ε, the factor of the cosine in the weights of the rows.
        num_base_classes: width of the head in training.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = BDCSPN(
        ...     MLP([4]), sharpness=10.0, num_base_classes=64, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True
    predicts_jointly = True
    centres_queries = True

    def __init__(
        self, backbone: AbstractBackbone, *, sharpness: float, num_base_classes: int, batch_norm: Moments
    ) -> None:
        super().__init__(backbone, num_base_classes=num_base_classes, batch_norm=batch_norm)
        check_positive(sharpness=sharpness)
        self.sharpness = sharpness

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        support_z, query_z = F.normalize(support_z, dim=1), F.normalize(query_z, dim=1)
        query_z = shifted(query_z, support_z)
        return cosine_similarities(query_z, rectified(support_z, support_y, query_z, self.sharpness))  # (Q, N)


def shifted(query_z: Tensor, support_z: Tensor) -> Tensor:
    """Moves the mean of the queries to that of the support rows: (Q, D), (S, D) -> (Q, D).

    The shift reduces the bias between the two sets.
    """
    return query_z + (support_z.mean(0) - query_z.mean(0))  # (Q, D)  eq. 8


def rectified(support_z: Tensor, support_y: Tensor, query_z: Tensor, sharpness: float) -> Tensor:
    """Computes prototypes, (N, D), from the support rows and the queries nearest to each class.

    Each row is weighted by its certainty.
    """
    prototypes = class_means(support_z, support_y)  # (N, D)
    nearest = cosine_similarities(query_z, prototypes).argmax(1, keepdim=True)  # (Q, 1)
    of_queries = nearest == torch.arange(prototypes.shape[0], device=nearest.device)  # (Q, N)
    z, y = torch.cat([support_z, query_z]), torch.cat([support_y, of_queries.to(support_y)])
    weights = (sharpness * cosine_similarities(z, prototypes)).softmax(1)  # (S + Q, N)
    return (y * weights).T @ z / y.sum(0)[:, None]
