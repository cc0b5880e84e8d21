"""The metric family: embeds support and query with one backbone, then compares the embeddings."""

from abc import abstractmethod

import torch
from torch import Tensor

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone, checked
from metalearn.losses import cross_entropy
from metalearn.types import Episode, Predictor, TaskOutput

PAIRED = 2**25
"""Limit on the numbers in the support-query pairs compared at once: 128 MiB in float32."""


@at_least_float32
def class_means(z: Tensor, y: Tensor) -> Tensor:
    """Computes the mean of each class, its prototype: (S, D), one-hot (S, N) -> (N, D)."""
    return y.T @ z / y.sum(0)[:, None]


class AbstractEmbedding(AbstractAlgorithm):
    """Predicts by comparing embeddings; a subclass implements `loss` and `compare` alone.

    Args:
        backbone: network that embeds images.
        batch_norm: moments of batch normalisation.
        num_base_classes: see `AbstractAlgorithm`.
    """

    compares_by_vmap = False  # whether torch.vmap supports `compare`, so that tasks run together

    def __init__(
        self, backbone: AbstractBackbone, *, batch_norm: norm.Moments, num_base_classes: int | None = None
    ) -> None:
        super().__init__(batch_norm=batch_norm, num_base_classes=num_base_classes)
        self.backbone = checked(backbone)

    @abstractmethod
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        """Computes the query logits of one task: (S, D), (S, N), (Q, D) -> (Q, N). Pure."""

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        def predict(query_x: Tensor) -> Tensor:
            support_z, query_z = self.embed(support_x[None], query_x[None])
            return self.compare(support_z[0], support_y, query_z[0])

        return predict

    @property
    def embeds_each_alone(self) -> bool:
        return self.batch_norm == "running"

    def embed_each(self, x: Tensor) -> Tensor:
        """Embeds each image independently of the others: (B, *X) -> (B, D)."""
        return self.backbone(x, None)

    def compare_all(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        """Applies `compare` to every task: (T, S, D), (T, S, N), (T, Q, D) -> (T, Q, N)."""
        if self.compares_by_vmap and len(support_z) > 1:
            at_once = max(1, PAIRED // (support_z.shape[1] * query_z[0].numel()))
            return torch.vmap(self.compare, chunk_size=at_once)(support_z, support_y, query_z)
        return torch.stack([self.compare(*task) for task in zip(support_z, support_y, query_z, strict=True)])

    def embed(self, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeds all rows in one pass of the backbone.

        Shapes: (T, S, *X), (T, Q, *X) -> (T, S, D), (T, Q, D).
        """
        tasks, support = support_x.shape[:2]
        x = torch.cat([support_x, query_x], dim=1)  # (T, S + Q, *X)
        rows = norm.rows(self.batch_norm, training=self.training, tasks=tasks, support=support)
        z = self.backbone(x.flatten(0, 1), rows).unflatten(0, x.shape[:2])  # (T, S + Q, D)
        return z[:, :support], z[:, support:]


class AbstractMetric(AbstractEmbedding):
    """Metric algorithm that trains on the cross-entropy of the queries of episodes."""

    def loss(self, batch: Episode) -> TaskOutput:
        support_z, query_z = self.embed(batch.support_x, batch.query_x)
        logits = self.compare_all(support_z, batch.support_y, query_z)  # (T, Q, N)
        return TaskOutput(cross_entropy(logits, batch.query_y), logits)
