"""Prototypical Networks.

Jake Snell, Kevin Swersky, Richard Zemel. Prototypical Networks for Few-shot Learning. NeurIPS 2017,
arXiv 1703.05175. A class is the mean of its embedded support examples; a query belongs to the
nearest mean. Inductive.
"""

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_choice, check_positive
from metalearn.algorithms.parts.distances import cosine_similarities, squared_distances
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments

Distance = Literal["squared_euclidean", "cosine"]


class Prototypical(AbstractMetric):
    """Prototypical Networks of Snell et al. 2017.

    Args:
        backbone: network that embeds images.
        distance: d of eq. 2; `cosine` stands for 1 - cosine.
        temperature: divisor of the distance.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = Prototypical(MLP([4]), batch_norm="running").eval()
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
        distance: Distance = "squared_euclidean",
        temperature: float = 1.0,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        check_choice(get_args(Distance), distance=distance)
        check_positive(temperature=temperature)
        self.distance, self.temperature = distance, temperature

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        prototypes = class_means(support_z, support_y)  # (N, D)  eq. 1
        if self.distance == "cosine":
            return cosine_similarities(query_z, prototypes) / self.temperature  # (Q, N)
        return -squared_distances(query_z, prototypes) / self.temperature  # (Q, N)  logits of eq. 2

    @at_least_float32
    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        if self.distance == "cosine":
            return F.cosine_similarity(a, b)
        return -(a - b).square().sum(-1)
