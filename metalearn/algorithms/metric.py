"""The metric family: embeds support and query with one backbone, then compares the embeddings."""

from abc import abstractmethod
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone, checked
from metalearn.losses import Problem
from metalearn.types import Episode, Predictor, TaskOutput

PAIRED = 2**25
"""Limit on the numbers in the support-query pairs compared at once: 128 MiB in float32."""

TAKES_IMAGES = ("embed", "adapt", "stages", "stages_of_all", "candidates", "curves")
"""Methods to which an evaluation would give images; embeddings go to `compare` alone."""


class AbstractEmbedding(AbstractAlgorithm):
    """Predicts by comparing embeddings; a subclass implements `loss` and `compare` alone.

    Args:
        backbone: network that embeds images.
        batch_norm: moments of batch normalisation.
        fixed_way: see `AbstractAlgorithm`.
        num_base_classes: see `AbstractAlgorithm`.
        problem: classification or regression.
    """

    compares_by_vmap = False  # whether torch.vmap supports `compare`, so that tasks run together

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        batch_norm: norm.Moments,
        fixed_way: int | None = None,
        num_base_classes: int | None = None,
        problem: Problem = "classification",
    ) -> None:
        super().__init__(batch_norm=batch_norm, fixed_way=fixed_way, num_base_classes=num_base_classes, problem=problem)
        self.backbone = checked(backbone)

    @abstractmethod
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        """Computes the query logits of one task: (S, D), (S, N), (Q, D) -> (Q, N). Pure."""

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        self.check_way(support_y)

        def predict(query_x: Tensor) -> Tensor:
            support_z, query_z = self.embed(support_x[None], query_x[None])
            return self.compare(support_z[0], support_y, query_z[0])

        return predict

    @property
    def embeds_each_alone(self) -> bool:
        """Whether, in evaluation, the embedding of an image depends on that image alone.

        Such an embedding is computed once and reused by all episodes, in place of `adapt`, so a
        subclass with one of `TAKES_IMAGES` of its own has none.
        """
        return self.takes_images_as(AbstractEmbedding) and self.dependence().normalises_alone

    def takes_images_as(self, parent: type) -> bool:
        """Whether the methods of `TAKES_IMAGES` are those of a class that it derives from."""
        return all(getattr(type(self), name) is getattr(parent, name) for name in TAKES_IMAGES)

    def embed_each(self, x: Tensor) -> Tensor:
        """Embeds each image independently of the others: (B, *X) -> (B, D)."""
        return self.backbone(x, None)

    def embed_together(self, x: Tensor) -> Tensor:
        """Embeds images that are no task, normalised as `batch_norm` has it: (B, *X) -> (B, D)."""
        _, z = self.embed(x[None, :0], x[None])
        return z[0]

    @at_least_float32
    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Computes the similarity of embedded pairs, row by row: (B, D), (B, D) -> (B,)."""
        return F.cosine_similarity(a, b)

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
        rows = self.rows(tasks=tasks, support=support)
        z = self.backbone(x.flatten(0, 1), rows).unflatten(0, x.shape[:2])  # (T, S + Q, D)
        return z[:, :support], z[:, support:]


def embeds_each_alone(algorithm: AbstractAlgorithm) -> TypeGuard[AbstractEmbedding]:
    """Whether an algorithm embeds images, each independently of the others."""
    return isinstance(algorithm, AbstractEmbedding) and algorithm.embeds_each_alone


def adapt_to_features(algorithm: AbstractAlgorithm, support: Tensor, support_y: Tensor) -> Predictor:
    """Adapts to embeddings where the algorithm embeds each image alone, else to its inputs."""
    if embeds_each_alone(algorithm):
        return partial(algorithm.compare, support, support_y)
    return algorithm.adapt(support, support_y)


class AbstractMetric(AbstractEmbedding):
    """Metric algorithm that trains on the loss of the queries of episodes.

    The loss of a classification is the cross-entropy.

    Args:
        backbone: network that embeds images.
        batch_norm: moments of batch normalisation.
        fixed_way: see `AbstractAlgorithm`.
        num_base_classes: see `AbstractAlgorithm`.
        problem: classification or regression.

    Examples:
        >>> from metalearn import MLP
        >>> class NearestExample(AbstractMetric):
        ...     def compare(self, support_z, support_y, query_z):
        ...         return -torch.cdist(query_z, support_z) @ support_y  # (Q, N)
        >>> algorithm = NearestExample(MLP([4]), batch_norm="running").eval()
        >>> algorithm.adapt(torch.randn(5, 4), torch.eye(5))(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    def loss(self, batch: Episode) -> TaskOutput:
        support_z, query_z = self.embed(batch.support_x, batch.query_x)
        logits = self.compare_all(support_z, batch.support_y, query_z)  # (T, Q, N), or (T, Q, 2 N) with deviations
        return TaskOutput(self.objective.loss(logits, batch.query_y), logits)


class AbstractClassifier(AbstractEmbedding):
    """Embedding trained as a linear classifier of all base classes.

    No task uses that classifier; a subclass implements `compare`.
    """

    of_training_alone = ("head",)

    def __init__(self, backbone: AbstractBackbone, *, num_base_classes: int, batch_norm: norm.Moments) -> None:
        super().__init__(backbone, batch_norm=batch_norm, num_base_classes=num_base_classes)
        self.head = nn.Linear(backbone.num_features, num_base_classes)

    def loss(self, batch: Episode) -> TaskOutput:
        _, z = self.embed(batch.support_x, batch.query_x)  # (T, Q, D), without support rows
        logits = self.head(z)
        return TaskOutput(self.objective.loss(logits, batch.query_y), logits)
