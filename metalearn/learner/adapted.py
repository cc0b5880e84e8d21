"""An algorithm adapted to a support set: what it predicts of features of queries, and which support images decided.

B  queries of a chunk, or all of them where the method predicts them jointly
"""

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.episodes.sampling import intensities
from metalearn.types import Predictor


class AbstractAdapted(ABC):
    """Features are what is kept of an image: its embedding where a method needs no more, else its pixels."""

    def __init__(self, support: Tensor, ways: Tensor, num_classes: int) -> None:
        self.support, self.ways, self.num_classes = support, ways, num_classes  # features of the S support images, (S,)

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """(B, ...) -> (B, N)."""

    @abstractmethod
    def weights(self, features: Tensor) -> Tensor:
        """How much each support image counts for each query, rows that add up to 1 or are 0: (B, ...) -> (B, S)."""


class OfEmbeddings(AbstractAdapted):
    """Compares embeddings, each of which was made once."""

    def __init__(self, algorithm: AbstractEmbedding, support: Tensor, ways: Tensor, num_classes: int) -> None:
        super().__init__(support, ways, num_classes)
        self.algorithm = algorithm

    def logits(self, features: Tensor) -> Tensor:
        return self.algorithm.compare(self.support, F.one_hot(self.ways, self.num_classes).float(), features)

    def weights(self, features: Tensor) -> Tensor:
        # Each support image as a class of its own: the method's own word on which of them a query is most like.
        each = torch.eye(len(self.support), device=features.device)
        return self.algorithm.compare(self.support, each, features).softmax(1)


class OfImages(AbstractAdapted):
    """Adapts to the images, and sees the queries as images."""

    def __init__(self, algorithm: AbstractAlgorithm, support: Tensor, ways: Tensor, num_classes: int) -> None:
        super().__init__(support, ways, num_classes)
        self.algorithm = algorithm

    def logits(self, features: Tensor) -> Tensor:
        return self.predictor(intensities(features))[:, : self.num_classes]

    def weights(self, features: Tensor) -> Tensor:
        if self.algorithm.fixed_way is not None:
            return self._weights_by_leaving_out(features)
        each = torch.eye(len(self.support), device=features.device)
        return self.algorithm.adapt(intensities(self.support), each)(intensities(features)).softmax(1)

    def _weights_by_leaving_out(self, features: Tensor) -> Tensor:
        """By how much the probability of the class falls that is predicted, when one support image is left out."""
        probabilities = self.logits(features).softmax(1)  # (B, N)
        predicted = probabilities.argmax(1, keepdim=True)  # (B, 1)
        falls = []
        for row in range(len(self.support)):
            rest = torch.arange(len(self.support), device=self.ways.device) != row
            without = OfImages(self.algorithm, self.support[rest], self.ways[rest], self.num_classes).logits(features)
            falls.append((probabilities - without.softmax(1)).gather(1, predicted)[:, 0].clamp_min(0))
        weights = torch.stack(falls, dim=1)  # (B, S)
        return weights / weights.sum(1, keepdim=True).clamp_min(1e-12)

    @cached_property
    def predictor(self) -> Predictor:
        """From intensities of queries to logits, of more classes where the head has more."""
        # A head of more classes than there are learns that the others do not occur.
        targets = F.one_hot(self.ways, self.algorithm.fixed_way or self.num_classes).float()
        return self.algorithm.adapt(intensities(self.support), targets)


def features(algorithm: AbstractAlgorithm, images: Tensor) -> Tensor:
    """What is kept of images (B, C, H, W) uint8."""
    if algorithm.embeds_each_alone:
        return algorithm.embed_each(intensities(images))  # type: ignore[operator]
    return images


def adapted(algorithm: AbstractAlgorithm, support: Tensor, ways: Tensor, num_classes: int) -> AbstractAdapted:
    """The algorithm adapted to the features of a support set. Raises ValueError for more classes than it knows."""
    if algorithm.fixed_way is not None and num_classes > algorithm.fixed_way:
        raise ValueError(
            f"this {type(algorithm).__name__} tells {algorithm.fixed_way} classes apart, not {num_classes}: "
            f"train with episode.train.way={num_classes}, or an algorithm without a head such as prototypical"
        )
    if algorithm.embeds_each_alone:
        assert isinstance(algorithm, AbstractEmbedding)
        return OfEmbeddings(algorithm, support, ways, num_classes)
    return OfImages(algorithm, support, ways, num_classes)
