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
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.distances import squared_distances
from metalearn.algorithms.parts.heads import HeadFit
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.transforms import power
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class DistributionCalibration(AbstractClassifier):
    """Baseline whose head is fitted to support rows and samples.

    Args:
        backbone: network that embeds images.
        exponent: λ of Tukey's transform.
        nearest: k, the number of base classes from which a support row borrows.
        dispersion: α, added to each number of a covariance.
        samples: number of samples of each class, shared by its support rows. Where shots differ,
            rows have equally many samples, and their weights make the classes equal.
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
        check_at_least(1, nearest=nearest, samples=samples)
        check_at_least(0, dispersion=dispersion)
        check_positive(exponent=exponent)  # at 0 the paper takes the logarithm
        self.exponent, self.nearest, self.dispersion = exponent, nearest, dispersion
        self.samples, self.head_fit = samples, head_fit
        self.base = BaseGaussians(num_base_classes, backbone.num_features)

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        support_z, query_z = (power(z.detach(), self.exponent) for z in (support_z, query_z))  # eq. 3
        vectors, members = self.calibrated(support_z)  # (V, D + 1), (S, R)
        rows, way = support_y.shape
        weights = self.weights(max(self.samples * way // rows, 1), members.shape[1]).to(vectors)  # (1 + M, R)
        shots = (support_y @ support_y.sum(0))[:, None]  # (S, 1)
        columns = members.flatten().expand(way, -1)  # (N, S R)

        def gradient(head: Tensor) -> Tensor:
            # Multiplies by the vectors first, since the samples would be many and long.
            products = head @ vectors.T  # (N, V)
            logits = products[:, members] @ weights.T  # (N, S, 1 + M)
            errors = logits.softmax(0) - support_y.T[..., None]
            # Rows share one noise and so one M; means over each class keep unequal shots balanced.
            slopes = errors @ weights / (way * shots * len(weights))  # (N, S, R)
            return torch.zeros_like(products).scatter_add(1, columns, slopes.flatten(1)) @ vectors

        head = self.head_fit(vectors.new_zeros(way, vectors.shape[1]), gradient)  # (N, D + 1)  eq. 8 and 9
        return F.linear(query_z, head[:, :-1], head[:, -1])

    def calibrated(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the vectors of all Gaussians (V, D + 1), and which R a row has (S, R).

        They are the row itself, its mean, and the factors of its covariance factorᵀ factor. Rows
        share the factors of a base class. The last number of a vector is the input of the bias.
        """
        distances = squared_distances(z, self.base.means)  # (S, C)  eq. 4
        nearest = distances.topk(min(self.nearest, len(self.base.means)), largest=False).indices  # (S, k)  eq. 5
        (rows, width), count = z.shape, nearest.shape[1]
        means = (self.base.means[nearest].sum(1) + z) / (count + 1)  # (S, D)  eq. 6
        used, nearest = nearest.unique(return_inverse=True)  # (U,), (S, k)
        factors = self.base.factors[used] / count**0.5  # (U, K, D)
        dispersion = z.new_full((1, width), self.dispersion**0.5)  # α in each number
        points = F.pad(torch.cat([z, means]), (0, 1), value=1.0)  # (2 S, D + 1)
        spreads = F.pad(torch.cat([factors.flatten(0, 1), dispersion]), (0, 1))  # (U K + 1, D + 1)
        vectors = torch.cat([points, spreads])
        itself, mean, factor, last = torch.arange(len(vectors), device=z.device).split(
            [rows, rows, len(spreads) - 1, 1]
        )
        borrowed = factor.view(factors.shape[:2])[nearest].flatten(1)  # (S, k K)
        return vectors, torch.cat([itself[:, None], mean[:, None], borrowed, last.expand(rows, 1)], dim=1)

    def weights(self, count: int, members: int) -> Tensor:
        """Returns the weights of the R vectors of a row in itself and in M samples: (1 + M, R).

        All rows share them, so that no prediction depends on the order of the rows.
        """
        noise = torch.randn(count, members - 2, generator=torch.Generator().manual_seed(0))
        return torch.block_diag(torch.ones(1, 1), torch.cat([torch.ones(count, 1), noise], dim=1))
