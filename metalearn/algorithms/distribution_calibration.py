"""Distribution calibration.

Shuo Yang, Lu Liu, Min Xu. Free Lunch for Few-shot Learning: Distribution Calibration. ICLR 2021,
arXiv 2101.06395. A support row stands for a Gaussian, which borrows part of its mean and covariance
from the nearest base classes. A linear head is fitted to samples of these Gaussians. Inductive.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractClassifier
from metalearn.algorithms.parts.base_classes import BaseGaussians
from metalearn.algorithms.parts.heads import HeadFit
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.transforms import power
from metalearn.algorithms.prototypical import squared_distances
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class DistributionCalibration(AbstractClassifier):
    """Baseline whose head is fitted to support rows and samples.

    Args:
        backbone: network that embeds images.
        exponent: λ of Tukey's transform.
        nearest: k, the number of base classes from which a support row borrows.
        dispersion: α, added to each number of a covariance.
        samples: number of samples of each class, shared by its support rows.
        head_fit: optimiser of the head of a task.
        num_base_classes: width of the head in training.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> from metalearn.algorithms.parts.heads import HeadFit
        >>> fit = HeadFit(steps=5, lr=0.01, momentum=0.9, dampening=0.0, weight_decay=0.0)
        >>> algorithm = DistributionCalibration(
        ...     MLP([4]), exponent=0.5, nearest=2, dispersion=0.21, samples=10, head_fit=fit,
        ...     num_base_classes=64, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True
    base: BaseGaussians

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        exponent: float,
        nearest: int,
        dispersion: float,
        samples: int,
        head_fit: HeadFit,
        num_base_classes: int,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, num_base_classes=num_base_classes, batch_norm=batch_norm)
        if nearest < 1:
            raise ValueError(f"nearest={nearest} must be at least 1")
        self.exponent, self.nearest, self.dispersion = exponent, nearest, dispersion
        self.samples, self.head_fit = samples, head_fit
        self.base = BaseGaussians(num_base_classes, backbone.num_features)

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        support_z, query_z = (power(z.detach(), self.exponent) for z in (support_z, query_z))  # eq. 3
        means, factors = self.calibrated(support_z)  # (S, D), (S, R, D)
        noise = self.noise(self.samples * support_y.shape[1] // len(support_y), factors)  # (M, R)
        y = torch.cat([support_y, support_y.repeat_interleave(len(noise), 0)])  # (S + S M, N)

        def logits(head: Tensor) -> Tensor:
            # Multiplies factors and head first, since the samples z = mean + factorᵀ noise would
            # be many and long.
            of_samples = F.linear(means, head[:, :-1], head[:, -1])[:, None] + noise @ (factors @ head[:, :-1].T)
            return torch.cat([F.linear(support_z, head[:, :-1], head[:, -1]), of_samples.flatten(0, 1)])

        start = y.new_zeros(y.shape[1], support_z.shape[1] + 1)
        _, pullback = torch.func.vjp(logits, start)  # logits are linear, so that it serves all heads
        head = self.head_fit(start, lambda head: pullback((logits(head).softmax(1) - y) / len(y))[0])
        return F.linear(query_z, head[:, :-1], head[:, -1])

    def calibrated(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the Gaussian of each row: mean (S, D), and factors (S, R, D).

        The covariance is factorᵀ factor.
        """
        count = min(self.nearest, len(self.base.means))
        distances = squared_distances(z, self.base.means)  # (S, C)  eq. 4
        chosen = distances.topk(count, largest=False).indices  # (S, k)  eq. 5
        means = (self.base.means[chosen].sum(1) + z) / (count + 1)  # (S, D)  eq. 6
        factors = self.base.factors[chosen].flatten(1, 2) / count**0.5  # (S, k K, D)
        dispersion = torch.full_like(z, self.dispersion**0.5)[:, None]  # (S, 1, D)  α in each number
        return means, torch.cat([factors, dispersion], dim=1)

    def noise(self, count: int, factors: Tensor) -> Tensor:
        """Returns standard normal numbers (M, R).

        All rows share them, so that no prediction depends on the order of the rows.
        """
        generator = torch.Generator().manual_seed(0)
        return torch.randn(max(count, 1), factors.shape[1], generator=generator).to(factors)
