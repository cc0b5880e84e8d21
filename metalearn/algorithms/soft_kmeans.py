"""Soft k-means on prototypes.

Mengye Ren, Eleni Triantafillou, Sachin Ravi, Jake Snell, Kevin Swersky, Joshua B. Tenenbaum, Hugo
Larochelle, Richard S. Zemel. Meta-Learning for Semi-Supervised Few-Shot Classification. ICLR 2018,
arXiv 1803.00676. The prototypes are the first centres of a k-means, in which each unlabelled row
counts for a class by its probability. Here these rows are the queries themselves. Transductive.
"""

import torch
from torch import Tensor

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.distances import squared_distances
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class SoftKMeans(AbstractMetric):
    """Soft k-means of Ren et al. 2018.

    Args:
        backbone: network that embeds images.
        steps: number of refinements of the prototypes.
        temperature: divisor of the squared distances.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = SoftKMeans(
        ...     MLP([4]), steps=1, temperature=1.0, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True

    def __init__(self, backbone: AbstractBackbone, *, steps: int, temperature: float, batch_norm: Moments) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        check_at_least(0, steps=steps)
        check_positive(temperature=temperature)
        self.steps, self.temperature = steps, temperature
        self.predicts_jointly = steps > 0

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        z = torch.cat([support_z, query_z])  # (S + Q, D)
        prototypes = class_means(support_z, support_y)  # (N, D)  eq. 1
        for _ in range(self.steps):
            belongs = self.logits(query_z, prototypes).softmax(1)  # (Q, N)
            prototypes = class_means(z, torch.cat([support_y, belongs]))  # (N, D)  eq. 4
        return self.logits(query_z, prototypes)

    def logits(self, query_z: Tensor, prototypes: Tensor) -> Tensor:
        return -squared_distances(query_z, prototypes) / self.temperature  # (Q, N)
