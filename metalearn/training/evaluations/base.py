"""What an evaluation beside the accuracy is: from an algorithm and the meta-test images to scores and a curve."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.data.bank import ClassBank
from metalearn.episodes.embedded import EmbeddingTable
from metalearn.episodes.loaders import EVALUATION_SEED
from metalearn.episodes.sampling import Draw, Setting, Shape, draw, intensities
from metalearn.stats import Estimate

MOST_POINTS = 200
"""Points of a curve that a result keeps."""


class Curve(NamedTuple):
    """What a report plots."""

    x_name: str
    y_name: str
    x: list[float]
    y: list[float]


class Scored(NamedTuple):
    """What an evaluation gives: fractions by name, each with its interval, and a curve."""

    name: str
    scores: dict[str, Estimate]
    curve: Curve

    def as_fields(self) -> dict[str, Any]:
        """As result.json has it."""
        scores = {name: score._asdict() for name, score in self.scores.items()}
        return {"name": self.name, "scores": scores, "curve": self.curve._asdict()}


class MetaTest(NamedTuple):
    """An algorithm in evaluation mode, and the images that it is judged on."""

    algorithm: AbstractAlgorithm
    bank: ClassBank
    setting: Setting  # of meta-test
    device: torch.device

    def inputs(self, rows: Tensor) -> Callable[[Tensor], Tensor]:
        """From some of the rows of the bank (B,) to what the algorithm takes: embeddings (B, D), or images."""
        images = self.bank.images.to(self.device)
        if self.algorithm.embeds_each_alone:
            return self.embeddings(rows)
        return lambda some: self.converted(images[some.to(self.device)])

    def embeddings(self, rows: Tensor) -> EmbeddingTable:
        """From some of the rows of the bank (B,) to their embeddings (B, D), each image by itself."""
        return EmbeddingTable(self.embed, self.bank.images.to(self.device), rows)

    def embed(self, images: Tensor) -> Tensor:
        return self.algorithm.embed_each(self.converted(images))  # type: ignore[operator]

    def converted(self, images: Tensor) -> Tensor:
        """Bytes as numbers 0 .. 1 of the type of the weights."""
        return intensities(images).to(next(self.algorithm.parameters()).dtype)

    def predict(self, support: Tensor, support_ways: Tensor, way: int, query: Tensor) -> Tensor:
        """Logits (Q, way) of queries, given a support set of its own; both as `inputs` gives them."""
        support_y = F.one_hot(support_ways, way).to(support)  # (S, N)
        if self.algorithm.embeds_each_alone:
            return self.algorithm.compare(support, support_y, query)  # type: ignore[operator]
        return self.algorithm.adapt(support, support_y)(query)

    def draws(self, way: int, num_episodes: int) -> list[Draw]:
        """The first episodes of meta-test of so many ways, with the shot and the queries of the setting."""
        shot, query = self.setting.shot, self.setting.query
        assert isinstance(shot, int)
        shape = Shape((shot,) * way, (query,) * way)
        return [
            draw(self.bank.rows, shape, seed=EVALUATION_SEED, split="test", index=index)
            for index in range(num_episodes)
        ]


class AbstractEvaluation(ABC):
    """Scores the best weights on meta-test, once, after the accuracy was measured."""

    name: ClassVar[str]

    @abstractmethod
    def check(self, of: MetaTest) -> None:
        """Raises ValueError, in one line, for what cannot be evaluated; before any training."""

    @abstractmethod
    def __call__(self, of: MetaTest) -> Scored:
        """The scores, without gradients."""


def check_episodes(of: MetaTest, way: int, key: str) -> None:
    """Raises ValueError where meta-test has no episodes of so many ways of one shot."""
    if not of.setting.has_one_shape:
        raise ValueError(f"{key} needs one episode.test.way and one episode.test.shot, not ranges")
    if way > of.bank.num_classes:
        raise ValueError(f"{key} needs {way} classes in an episode; meta-test has {of.bank.num_classes}")


def check_embeds(of: MetaTest, key: str) -> None:
    """Raises ValueError where two images cannot be compared by their embeddings, each made alone."""
    if not all(hasattr(of.algorithm, name) for name in ("embed_each", "similarity")):
        raise ValueError(f"{key} compares two embeddings; {type(of.algorithm).__name__} has none of one image")
    if (batch_norm := of.algorithm.dependence().batch_norm) not in ("running", "none"):
        raise ValueError(f"{key} embeds each image alone, which batch_norm={batch_norm} cannot: batch_norm=running")


def ranks(scores: Tensor) -> Tensor:
    """Their places in 0 .. 1, equal ones alike: what thresholds see of scores, whatever their scale, (B,) -> (B,).

    torchmetrics would put logits through a sigmoid, which rounds different ones to the same number.
    """
    distinct, places = scores.double().unique(return_inverse=True)
    return places.double() / max(len(distinct) - 1, 1)


def thinned(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most `MOST_POINTS` of the points, the first and the last among them."""
    kept = torch.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().long().tolist()
    return [x[i] for i in kept], [y[i] for i in kept]
