"""Algorithm adapted to a support set: predictions, and the support images that decide them.

B  queries of a chunk, or all of them where the method predicts them jointly
"""

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from threading import RLock

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.metric import adapt_to_features, embeds_each_alone
from metalearn.episodes.fetching import intensities
from metalearn.types import Predictor

IN_TURN = RLock()
"""Held while a learner adapts, predicts or is copied, since several threads may use one.

torch.func.functional_call exchanges the weights of a module in place. A fork waits too: its child
would find the lock held forever, and the weights exchanged.
"""
os.register_at_fork(before=IN_TURN.acquire, after_in_parent=IN_TURN.release, after_in_child=IN_TURN.release)


JOINT = 2000
"""Limit of queries that a transductive method predicts together; memory grows with them."""


class Adapted:
    """An algorithm adapted to features of images: embeddings where it needs no more, else pixels.

    Args:
        support: features of the S support images.
        ways: the class of each, (S,).

    Raises ValueError for more classes than the algorithm can predict, and for features that it does
    not take.
    """

    def __init__(self, algorithm: AbstractAlgorithm, support: Tensor, ways: Tensor, num_classes: int) -> None:
        if algorithm.fixed_way is not None and num_classes > algorithm.fixed_way:
            raise ValueError(
                f"this {type(algorithm).__name__} classifies {algorithm.fixed_way} ways, not {num_classes}: "
                f"train with episode.train.way={num_classes}, or an algorithm without a head such as prototypical"
            )
        if embeds_each_alone(algorithm) != support.is_floating_point():
            raise ValueError(
                f"another version of {type(algorithm).__name__} kept other features: fit and save it again"
            )
        self.algorithm, self.support, self.ways, self.num_classes = algorithm, support, ways, num_classes

    def adapt(self, support: Tensor, targets: Tensor) -> Predictor:
        """Returns the function from features of queries to logits, given a support set."""
        predict = adapt_to_features(self.algorithm, intensities(support), targets)
        return lambda queries: predict(intensities(queries))

    @property
    def targets(self) -> Tensor:
        """Classes of the support set, one-hot (S, N), where N is that of a fixed head."""
        # A head of more classes learns that the others do not occur.
        return F.one_hot(self.ways, self.algorithm.fixed_way or self.num_classes).float()

    @cached_property
    def predictor(self) -> Predictor:
        # Later predictions use what the first one adapts, so it must not depend on its autocast.
        with torch.autocast(self.support.device.type, enabled=False):
            return self.adapt(self.support, self.targets)

    def logits(self, features: Tensor) -> Tensor:
        """Computes the logits: (B, ...) -> (B, N)."""
        return self.predictor(features)[:, : self.num_classes]

    def weights(self, features: Tensor) -> Tensor:
        """Weighs each support image for each query: (B, ...) -> (B, S).

        Rows add up to 1 or are 0.
        """
        if self.algorithm.fixed_way is not None:
            return self._weights_by_leaving_out(features)
        # Each support image is a class, so the method itself ranks them by similarity to a query.
        each = torch.eye(len(self.support), device=self.ways.device)
        return self.adapt(self.support, each)(features).softmax(1)

    def _weights_by_leaving_out(self, features: Tensor) -> Tensor:
        """Measures how much the probability of the predicted class falls without a support image.

        One image is left out at a time; a single one decides everything.
        """
        if len(self.support) == 1:
            return torch.ones(len(features), 1, device=features.device)
        probabilities = self.logits(features).softmax(1)  # (B, N)
        predicted = probabilities.argmax(1, keepdim=True)  # (B, 1)
        falls = []
        for row in range(len(self.support)):
            rest = torch.arange(len(self.support), device=self.ways.device) != row
            without = self.adapt(self.support[rest], self.targets[rest])(features)[:, : self.num_classes]
            falls.append((probabilities - without.softmax(1)).gather(1, predicted)[:, 0].clamp_min(0))
        weights = torch.stack(falls, dim=1)  # (B, S)
        return weights / weights.sum(1, keepdim=True).clamp_min(1e-12)


def features(algorithm: AbstractAlgorithm, images: Tensor) -> Tensor:
    """Computes the features of images (B, C, H, W) uint8."""
    if embeds_each_alone(algorithm):
        return algorithm.embed_each(intensities(images)).float()  # under autocast, too, for use outside it
    return images


def together(algorithm: AbstractAlgorithm, features: Iterable[Tensor]) -> Iterator[Tensor]:
    """Joins the features of all queries, where there are any, since they are predicted jointly.

    Raises ValueError for too many, and for a single one that the algorithm centres.
    """
    joint: list[Tensor] = []
    for some in features:
        joint.append(some)
        if sum(map(len, joint)) > JOINT:
            raise ValueError(
                f"{type(algorithm).__name__} predicts all images of a call jointly, "
                f"and at most {JOINT} of them: split them into several calls"
            )
    if algorithm.centres_queries and sum(map(len, joint)) == 1:
        name = type(algorithm).__name__
        raise ValueError(
            f"{name} subtracts the mean of the queries, so a single one has no information: predict several together"
        )
    if joint:
        yield torch.cat(joint)
