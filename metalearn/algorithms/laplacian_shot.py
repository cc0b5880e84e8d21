"""LaplacianShot.

Imtiaz Masud Ziko, Jose Dolz, Eric Granger, Ismail Ben Ayed. Laplacian Regularized Few-Shot
Learning. ICML 2020, arXiv 2006.15486. Queries should be near the prototype of their class, and
neighbouring queries should share a class. Updates that are independent for each query minimise both
terms. Transductive.
"""

import torch
from torch import Tensor

from metalearn.algorithms.bd_cspn import rectified, shifted
from metalearn.algorithms.metric import AbstractClassifier
from metalearn.algorithms.parts.base_classes import BaseMean
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.distances import squared_distances
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.transforms import centred
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class LaplacianShot(AbstractClassifier):
    """LaplacianShot of Ziko et al. 2020.

    Args:
        backbone: network that embeds images.
        laplacian: λ, the weight of the neighbours.
        neighbours: number of neighbours of each query.
        steps: number of updates.
        sharpness: sharpness of the rectified prototypes.
        num_base_classes: width of the head in training.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = LaplacianShot(
        ...     MLP([4]), laplacian=0.7, neighbours=2, steps=20, sharpness=10.0,
        ...     num_base_classes=64, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True
    predicts_jointly = True
    base: BaseMean

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        laplacian: float,
        neighbours: int,
        steps: int,
        sharpness: float,
        num_base_classes: int,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, num_base_classes=num_base_classes, batch_norm=batch_norm)
        if neighbours < 1:
            raise ValueError(f"neighbours={neighbours} must be at least 1; laplacian=0 disables them")
        check_at_least(0, steps=steps, laplacian=laplacian)
        check_positive(sharpness=sharpness)
        self.laplacian, self.neighbours, self.steps, self.sharpness = laplacian, neighbours, steps, sharpness
        self.base = BaseMean(num_base_classes, backbone.num_features)

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        support_z, query_z = (centred(z, self.base.mean) for z in (support_z, query_z))
        prototypes = rectified(support_z, support_y, shifted(query_z, support_z), self.sharpness)  # (N, D)
        unary = -squared_distances(query_z, prototypes)  # (Q, N)  -a_q
        affinity = neighbourhood(query_z, self.neighbours)  # (Q, Q)  W
        logits = unary
        for _ in range(self.steps):
            logits = unary + self.laplacian * affinity @ logits.softmax(1)  # eq. 12
        return logits


def neighbourhood(z: Tensor, count: int) -> Tensor:
    """Computes W of eq. 4: (Q, D) -> (Q, Q).

    It is 1 where the column is among the `count` nearest neighbours of the row, else 0.
    """
    distances = squared_distances(z, z)
    others = distances + torch.diag_embed(torch.full_like(z[:, 0], torch.inf))
    nearest = others.topk(torch.sym_min(count, z.shape[0] - 1), largest=False).indices  # (Q, count)
    return torch.zeros_like(distances).scatter(1, nearest, 1.0)
