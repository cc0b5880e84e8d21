"""Power transform and maximum a posteriori (PT-MAP).

Yuqing Hu, Vincent Gripon, Stéphane Pateux. Leveraging the Feature Distribution in Transfer-based
Few-Shot Learning. ICANN 2021, arXiv 2006.03806. Make the embeddings more like Gaussians. Then
alternate between an optimal transport, which assigns equally many queries to each class, and the
class means that it gives. Transductive.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractClassifier
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.distances import squared_distances
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.transforms import power
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments

SMALLEST = 1e-30
"""Smallest number of the kernel of a transport, so that no column is empty."""


class PTMAP(AbstractClassifier):
    """PT-MAP of Hu et al. 2021.

    Args:
        backbone: network that embeds images.
        exponent: β of the power transform.
        sharpness: λ of the transport.
        rate: α, the step size of the means.
        steps: number of steps of the means.
        num_base_classes: width of the head in training.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = PTMAP(
        ...     MLP([4]), exponent=0.5, sharpness=10.0, rate=0.2, steps=20, num_base_classes=64,
        ...     batch_norm="running"
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
        check_at_least(0, steps=steps)
        check_positive(sharpness=sharpness, exponent=exponent)  # at 0 the paper takes the logarithm
        if not 0 <= rate <= 1:
            raise ValueError(f"rate={rate} must be in 0..1")
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
    """Preprocesses the rows of one set: (B, D) -> (B, D).

    Transforms them, scales to unit length, centres by their mean, and scales to unit length again.
    """
    z = F.normalize(power(z, exponent), dim=1)  # eq. 1
    return F.normalize(z - z.mean(0), dim=1)


def sinkhorn(scores: Tensor, factors: Tensor, steps: int = 30) -> tuple[Tensor, Tensor]:
    """Computes the logarithms of the optimal transport plan, (Q, N).

    A plan takes 1 from each row and gives equally much to each column. The optimal plan P maximises
    Σ P scores + entropy(P). Its rows sum to 1 exactly, its columns to Q / N in the limit. Also
    returns the factors (N,) of the columns, from which a similar transport can start.
    """
    scores = scores - scores.amax(1, keepdim=True)
    kernel = scores.exp().clamp_min(SMALLEST)
    for _ in range(steps):
        rows = 1 / (kernel @ factors)  # (Q,)
        factors = scores.shape[0] / scores.shape[1] / (rows @ kernel)  # (N,)
    return (scores + factors.log()).log_softmax(1), factors
