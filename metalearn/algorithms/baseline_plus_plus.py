"""Baseline++: the baseline with a cosine head.

Wei-Yu Chen, Yen-Cheng Liu, Zsolt Kira, Yu-Chiang Frank Wang, Jia-Bin Huang. A Closer Look at
Few-shot Classification. ICLR 2019, arXiv 1904.04232. Each class is a direction, and its logit is
the cosine to that direction. The embeddings of a class therefore gather around one direction, which
suits a head fitted to few of them. Inductive.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_positive
from metalearn.algorithms.parts.distances import cosine_similarities
from metalearn.algorithms.parts.heads import HeadFit, basis_of
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import cross_entropy
from metalearn.types import Episode, TaskOutput


class BaselinePlusPlus(AbstractEmbedding):
    """Baseline++ of Chen et al. 2019: class directions, fitted to frozen embeddings on each task.

    Args:
        backbone: network that embeds images.
        num_base_classes: number of directions in training.
        base_scale: factor of the cosines in training.
        novel_scale: factor of the cosines on a task.
        head_fit: optimiser of the directions of a task.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> from metalearn.algorithms.parts.heads import HeadFit
        >>> fit = HeadFit(steps=5, lr=0.01, momentum=0.9, dampening=0.0, weight_decay=0.0)
        >>> algorithm = BaselinePlusPlus(
        ...     MLP([4]), num_base_classes=64, base_scale=10.0, novel_scale=2.0, head_fit=fit,
        ...     batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True
    of_training_alone = ("directions",)

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        num_base_classes: int,
        base_scale: float,
        novel_scale: float,
        head_fit: HeadFit,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm, num_base_classes=num_base_classes)
        check_positive(base_scale=base_scale, novel_scale=novel_scale)
        self.directions = nn.Parameter(torch.randn(num_base_classes, backbone.num_features))
        self.base_scale, self.novel_scale, self.head_fit = base_scale, novel_scale, head_fit

    def loss(self, batch: Episode) -> TaskOutput:
        _, z = self.embed(batch.support_x, batch.query_x)  # (T, Q, D), without support rows
        logits = self.base_scale * cosine_similarities(z.flatten(0, 1), self.directions).view_as(batch.query_y)
        return TaskOutput(cross_entropy(logits, batch.query_y), logits)

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        basis = basis_of(support_z.detach())  # (D, R)
        z = F.normalize(support_z.detach() @ basis, dim=1)  # (S, R)

        def gradient(head: Tensor) -> Tensor:
            length = head.norm(dim=1, keepdim=True).clamp_min(1e-12)  # (N, 1)
            unit = head / length  # (N, R)
            errors = F.linear(z, self.novel_scale * unit).softmax(1) - support_y  # (S, N)
            slope = self.novel_scale * errors.T @ z / len(z)  # (N, R)
            # A cosine depends on the direction alone, so that nothing remains along it.
            return (slope - (slope * unit).sum(1, keepdim=True) * unit) / length

        # The head starts at the class means (Qi et al. 2018, arXiv 1712.07136) and not at random,
        # so that a prediction is a function of its task.
        head = self.head_fit(class_means(z, support_y), gradient)
        return self.novel_scale * cosine_similarities(query_z, head @ basis.T)
