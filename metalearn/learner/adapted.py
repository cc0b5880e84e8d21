"""Algorithm adapted to a support set: predictions, and the support images that decide them.

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
    """Algorithm adapted to features of a support set.

    Features are embeddings where a method needs no more, else pixels.
    """

    def __init__(self, support: Tensor, ways: Tensor, num_classes: int) -> None:
        self.support, self.ways, self.num_classes = support, ways, num_classes  # features of the S support images, (S,)

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """Computes the logits: (B, ...) -> (B, N)."""

    @abstractmethod
    def weights(self, features: Tensor) -> Tensor:
        """Weighs each support image for each query: (B, ...) -> (B, S).

        Rows add up to 1 or are 0.
        """


class OfEmbeddings(AbstractAdapted):
    """Compares embeddings, each computed once."""

    def __init__(self, algorithm: AbstractEmbedding, support: Tensor, ways: Tensor, num_classes: int) -> None:
        super().__init__(support, ways, num_classes)
        self.algorithm = algorithm

    def logits(self, features: Tensor) -> Tensor:
        return self.algorithm.compare(self.support, F.one_hot(self.ways, self.num_classes).float(), features)

    def weights(self, features: Tensor) -> Tensor:
        # Each support image is a class, so the method itself ranks them by similarity to a query.
        each = torch.eye(len(self.support), device=features.device)
        return self.algorithm.compare(self.support, each, features).softmax(1)


class OfImages(AbstractAdapted):
    """Adapts to the images, and embeds queries as images."""

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
        """Measures how much the probability of the predicted class falls without a support image.

        One image is left out at a time.
        """
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
        """Returns the function from query intensities to logits; a head may have more classes."""
        # A head with more classes learns that the others do not occur.
        targets = F.one_hot(self.ways, self.algorithm.fixed_way or self.num_classes).float()
        return self.algorithm.adapt(intensities(self.support), targets)


def features(algorithm: AbstractAlgorithm, images: Tensor) -> Tensor:
    """Computes the features of images (B, C, H, W) uint8."""
    if algorithm.embeds_each_alone:
        return algorithm.embed_each(intensities(images))  # type: ignore[operator]
    return images


def adapted(algorithm: AbstractAlgorithm, support: Tensor, ways: Tensor, num_classes: int) -> AbstractAdapted:
    """Adapts the algorithm to the features of a support set.

    Raises ValueError for more classes than it can predict.
    """
    if algorithm.fixed_way is not None and num_classes > algorithm.fixed_way:
        raise ValueError(
            f"this {type(algorithm).__name__} tells {algorithm.fixed_way} classes apart, not {num_classes}: "
            f"train with episode.train.way={num_classes}, or an algorithm without a head such as prototypical"
        )
    if algorithm.embeds_each_alone:
        assert isinstance(algorithm, AbstractEmbedding)
        return OfEmbeddings(algorithm, support, ways, num_classes)
    return OfImages(algorithm, support, ways, num_classes)
