"""Evaluations beside the accuracy: from algorithm and meta-test images to scores and a curve."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.metric import AbstractEmbedding, adapt_to_features, embeds_each_alone
from metalearn.data.bank import ClassBank
from metalearn.episodes.embedded import EmbeddingTable
from metalearn.episodes.fetching import intensities
from metalearn.episodes.loaders import EVALUATION_SEED
from metalearn.episodes.sampling import Draw, draw
from metalearn.episodes.setting import Setting, Shape
from metalearn.estimates import Curve, Estimate
from metalearn.types import Predictor

MOST_POINTS = 200
"""Largest number of points of a curve in a result."""


class Scored(NamedTuple):
    """Result of an evaluation: fractions by name, each with its interval, and a curve."""

    scores: dict[str, Estimate]
    curve: Curve


def checked(scored: Any, evaluation: str) -> Scored:
    """Returns what an evaluation of that class returned.

    Raises TypeError if it is not a result, and ValueError for a curve without points.
    """
    parts: list[tuple[str, Any, type]] = [("result", scored, Scored)]
    if isinstance(scored, Scored):
        parts += [("curve", scored.curve, Curve), ("table of scores", scored.scores, dict)]
        if isinstance(scored.curve, Curve):
            parts += [("curve.x", scored.curve.x, list), ("curve.y", scored.curve.y, list)]
        if isinstance(scored.scores, dict):
            parts += [(f"score {name}", score, Estimate) for name, score in scored.scores.items()]
    for name, part, wanted in parts:
        if not isinstance(part, wanted):
            raise TypeError(
                f"{evaluation} must return Scored, with an Estimate for each score and a Curve, but its {name} is a "
                f"{type(part).__name__} (docs/extending.md)"
            )
    curve = cast(Scored, scored).curve
    if not len(curve.x) == len(curve.y) > 0:
        raise ValueError(
            f"{evaluation} returns a curve of {len(curve.x)} x and {len(curve.y)} y: give one y for each x"
        )
    return cast(Scored, scored)


Precision = Callable[[], AbstractContextManager[Any]]


class MetaTest(NamedTuple):
    """Algorithm in evaluation mode, and the images that test it."""

    algorithm: AbstractAlgorithm
    bank: ClassBank
    setting: Setting  # setting of meta-test
    device: torch.device
    precision: Precision = nullcontext  # opens the precision in which the algorithm computes

    def inputs(self, rows: Tensor) -> Callable[[Tensor], Tensor]:
        """Returns the function from rows of the bank (B,) to the inputs of the algorithm.

        The inputs are embeddings (B, D), or images. It covers only the given rows.
        """
        if embeds_each_alone(self.algorithm):
            return self.embeddings(rows)
        images = self.bank.images.to(self.device)
        return lambda some: self.converted(images[some.to(self.device)])

    def inputs_of(self, draws: Sequence[Draw]) -> Callable[[Tensor], Tensor]:
        """Returns `inputs` of all rows of some episodes."""
        return self.inputs(torch.cat([torch.cat([episode.support_rows, episode.query_rows]) for episode in draws]))

    def embeddings(self, rows: Tensor) -> EmbeddingTable:
        """Returns the table from rows of the bank (B,) to embeddings (B, D).

        Each image is embedded independently. The table covers only the given rows.
        """
        return EmbeddingTable(self.embed, self.bank.images.to(self.device), rows)

    def embed(self, images: Tensor) -> Tensor:
        with self.precision():
            return self.algorithm.embed_each(self.converted(images))  # type: ignore[operator]

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Computes the similarity of embedded pairs, row by row: (B, D), (B, D) -> (B,)."""
        with self.precision():
            return self.algorithm.similarity(a, b)  # type: ignore[operator]

    def converted(self, images: Tensor) -> Tensor:
        """Converts bytes to numbers 0 .. 1 of the type of the weights; ids of tokens stay ids."""
        converted = intensities(images)
        return converted.to(self.dtype) if converted.is_floating_point() else converted

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, or that of torch for an algorithm without weights."""
        return next((weight.dtype for weight in self.algorithm.parameters()), torch.get_default_dtype())

    def predict(self, support: Tensor, support_ways: Tensor, way: int, query: Tensor) -> Tensor:
        """Computes logits (Q, way) of queries, given their support set.

        Both are inputs from `inputs`.
        """
        return self.adapt(support, support_ways, way)(query)

    def adapt(self, support: Tensor, support_ways: Tensor, way: int) -> Predictor:
        """Returns the predictor learnt from a support set; its inputs are from `inputs` too."""
        support_y = F.one_hot(support_ways, way).to(support.device, self.dtype)  # (S, N)
        with self.precision():
            predict = adapt_to_features(self.algorithm, support, support_y)

        def in_precision(query: Tensor) -> Tensor:
            with self.precision():
                return predict(query)

        return in_precision

    def draws(self, way: int, num_episodes: int) -> list[Draw]:
        """Draws the first episodes of meta-test with `way` ways.

        Shot and queries are those of the setting.
        """
        shape = Shape((self.setting.largest_shot,) * way, (self.setting.query,) * way)
        return [
            draw(self.bank.rows, shape, seed=EVALUATION_SEED, split="test", index=index)
            for index in range(num_episodes)
        ]


class AbstractEvaluation(ABC):
    """Evaluation of the best weights on meta-test, once, after the accuracy."""

    name: ClassVar[str]

    @abstractmethod
    def check(self, meta_test: MetaTest) -> None:
        """Raises ValueError, in one line and before the training, if it cannot be evaluated."""

    @abstractmethod
    def __call__(self, meta_test: MetaTest) -> Scored:
        """Returns the scores, without gradients."""


def check_episodes(meta_test: MetaTest, way: int, key: str, *, lower: str = "episode.test.way") -> None:
    """Raises ValueError if meta-test has no episodes of so many ways at one shot.

    Args:
        meta_test: classes and setting of the test.
        way: number of classes in an episode.
        key: override that chooses the evaluation, for the message.
        lower: key that lowers the number of ways, for the message.
    """
    if not meta_test.setting.has_one_shape:
        raise ValueError(f"{key} needs one episode.test.way and one episode.test.shot, not ranges")
    if meta_test.setting.queries != "equal":
        raise ValueError(f"{key} has equally many queries of each class: leave episode.test.queries equal")
    if way > meta_test.bank.num_classes:
        there = f"but there are {meta_test.bank.num_classes}"
        raise ValueError(f"{key} needs {way} meta-test classes, {there}: lower {lower}")


def check_embeds(meta_test: MetaTest, key: str) -> None:
    """Raises ValueError if embeddings, each made alone, cannot compare two images."""
    if not isinstance(meta_test.algorithm, AbstractEmbedding):
        raise ValueError(
            f"{key} compares embeddings of single images, which {type(meta_test.algorithm).__name__} lacks: use "
            "another algorithm, such as prototypical"
        )
    if not (found := meta_test.algorithm.dependence()).normalises_alone:
        raise ValueError(
            f"{key} embeds each image alone, which batch_norm={found.batch_norm} cannot: use batch_norm=running"
        )


def ranks(scores: Tensor) -> Tensor:
    """Replaces scores by their ranks in 0 .. 1; equal scores have one rank: (B,) -> (B,).

    Thresholds see only ranks. torchmetrics would put logits through a sigmoid, which rounds
    different ones to one number.
    """
    distinct, places = scores.double().unique(return_inverse=True)
    return places.double() / max(len(distinct) - 1, 1)


def thinned(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Selects at most `MOST_POINTS` of the points, including the first and the last."""
    kept = torch.linspace(0, len(x) - 1, min(len(x), MOST_POINTS), dtype=torch.float64).round().long().tolist()
    return [x[i] for i in kept], [y[i] for i in kept]
