"""Power transform and maximum a posteriori (PT-MAP).

Yuqing Hu, Vincent Gripon, Stéphane Pateux. Leveraging the Feature Distribution in Transfer-based
Few-Shot Learning. 2020, arXiv 2006.03806. Make the embeddings more like Gaussians, then alternate
between an optimal transport of the queries to the classes, which takes as many queries of each,
and the class means that it gives. Transductive.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractClassifier, class_means
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.transforms import power
from metalearn.algorithms.prototypical import squared_distances
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments

SMALLEST = 1e-30
"""Of the kernel of a transport, so that no column is without any row."""


class PTMAP(AbstractClassifier):
    """`exponent` is β of the power transform, `sharpness` λ of the transport, `rate` α of the `steps` of the means."""

    compares_by_vmap = True
    predicts_jointly = True

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        exponent: float,
        sharpness: float,
        rate: float,
        steps: int,
        num_base_classes: int,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, num_base_classes=num_base_classes, batch_norm=batch_norm)
        self.exponent, self.sharpness, self.rate, self.steps = exponent, sharpness, rate, steps

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        support_z, query_z = (preprocessed(z, self.exponent) for z in (support_z, query_z))
        z = torch.cat([support_z, query_z])  # (S + Q, D)
        means = class_means(support_z, support_y)  # (N, D)
        plan, factors = self.transport(query_z, means, torch.ones_like(means[:, 0]))  # (Q, N)
        for _ in range(self.steps):
            estimate = class_means(z, torch.cat([support_y, plan.exp()]))  # (N, D)  eq. 6
            means = means + self.rate * (estimate - means)
            plan, factors = self.transport(query_z, means, factors)  # eq. 5
        return plan

    def transport(self, query_z: Tensor, means: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        return sinkhorn(-self.sharpness * squared_distances(query_z, means), factors)


def preprocessed(z: Tensor, exponent: float) -> Tensor:
    """The rows of one set, transformed, of unit length, centred by their own mean and again of unit length."""
    z = F.normalize(power(z, exponent), dim=1)  # eq. 1
    return F.normalize(z - z.mean(0), dim=1)


def sinkhorn(scores: Tensor, factors: Tensor, steps: int = 30) -> tuple[Tensor, Tensor]:
    """Logarithms of the plan that takes 1 from each row and gives as much to each column, (Q, N).

    Of all such plans P it maximises Σ P scores + entropy(P); rows sum to 1 exactly, columns to
    Q / N in the limit. Also the factors (N,) of the columns, from which to begin a similar one.
    """
    scores = scores - scores.amax(1, keepdim=True)
    kernel = scores.exp().clamp_min(SMALLEST)
    for _ in range(steps):
        rows = 1 / (kernel @ factors)  # (Q,)
        factors = scores.shape[0] / scores.shape[1] / (rows @ kernel)  # (N,)
    return (scores + factors.log()).log_softmax(1), factors
