"""Learner: a classifier with the interface of scikit-learn, which it does not need itself."""

import os
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from metalearn.learner import labels as of_labels
from metalearn.learner import scikit_learn
from metalearn.learner.adapted import IN_TURN, Adapted, features, together
from metalearn.learner.inputs import CHUNK, Input, chunks, counted, warn_of_dark
from metalearn.learner.rejecting import check_classes, probability
from metalearn.learner.saving import Examples, SupportSet, joined, read, write
from metalearn.learner.trained import Trained, build, checkpoint_of
from metalearn.learner.untrained import checkpoint_of_parts


class Evidence(NamedTuple):
    """Support image or text, and its weight."""

    label: Hashable
    weight: float  # 0 .. 1
    row: int  # number of the support row, in the given order
    example: np.ndarray | str | None  # (H, W, C) uint8 input of the network, or text; None if not kept


class Learner:
    """Classifier of images or texts from a few of each class; the weights of the network stay.

    A learner of texts takes texts wherever "images" are written here.

    Args:
        trained: trained algorithm of a run; `Learner.load` reads it.
        reject: probability below which `predict` answers None, "none of these".

    Examples:
        >>> learner = Learner.load("outputs/RUN").fit(images, labels)  # doctest: +SKIP
        >>> learner.predict(["a.png", "b.jpg"])  # doctest: +SKIP
        ['cat', 'dog']
    """

    _estimator_type = "classifier"  # for scikit-learn up to 1.5

    def __init__(self, trained: Trained, *, reject: float | None = None) -> None:
        self.trained, self.reject = trained, probability(reject)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, reject: float | None = None) -> Self:
        """Loads a run directory, a checkpoint, or a saved learner, which is already fitted.

        A saved learner keeps its own `reject` unless one is given. Raises OSError or ValueError, in
        one line, for anything else.
        """
        checkpoint = checkpoint_of(Path(path))
        learner = cls(build(Path(path), checkpoint), reject=reject)
        if "learner" in checkpoint:
            learner._keep(read(Path(path), checkpoint["learner"]))
            if reject is None:
                learner.reject = checkpoint["learner"]["reject"]
        return learner

    @classmethod
    def pretrained(cls, backbone: str, *, head: str = "simple_shot", reject: float | None = None) -> Self:
        """Makes a learner without training: a pretrained backbone under a head without weights.

        Its probabilities are not calibrated, and `simple_shot` has no base classes to centre by.
        Raises ValueError, in one line, for a backbone or a head that needs training.
        """
        name = Path(f"{head} on {backbone}")
        return cls(build(name, checkpoint_of_parts(backbone, head)), reject=reject)

    def save(self, path: str | os.PathLike[str], *, keep_images: bool = False) -> None:
        """Writes the learner to one file: network, support set and `reject`; `load` restores it.

        Without `keep_images`, the file holds only embeddings of the support images or texts. Raises
        ValueError if the method predicts from the images themselves, or if a file without them was
        loaded and they are to be kept.
        """
        write(Path(path), self.trained.checkpoint, self._fitted(), keep_images=keep_images, reject=self.reject)

    def fit(self, images: Iterable[Input], labels: Iterable[Hashable]) -> Self:
        """Learns the classes from images and their labels, and forgets an earlier fit."""
        images = counted(images, self.trained.preparation)
        listed = of_labels.listed(labels, len(images))
        classes = of_labels.distinct(listed)
        self._keep(self._support(images, [classes.index(label) for label in listed], classes))
        return self

    def add_class(self, name: Hashable, images: Iterable[Input]) -> Self:
        """Learns one more class, the last of `classes_`."""
        kept, name = self._fitted(), of_labels.plain(name)
        if name in kept.classes:
            raise ValueError(f"the class {name!r:.60} already exists")
        images = counted(images, self.trained.preparation)
        more = self._support(images, [len(kept.classes)] * len(images), [*kept.classes, name])
        ways, support = torch.cat([kept.ways, more.ways]), torch.cat([kept.features, more.features])
        self._keep(SupportSet(more.classes, ways, support, joined(kept.examples, more.examples)))
        return self

    @property
    def classes_(self) -> np.ndarray:
        """Classes in the order of the columns of `predict_proba`."""
        return of_labels.vector(self._fitted().classes)

    def predict(self, images: Iterable[Input]) -> np.ndarray:
        """Predicts the class of each image, (Q,); None if no class has the probability `reject`."""
        return self.choose(self.predict_proba(images))

    def choose(self, probabilities: np.ndarray) -> np.ndarray:
        """Returns the answers of `predict` for these probabilities: (Q, N) -> (Q,)."""
        chosen = self.classes_[probabilities.argmax(1)]
        if self.reject is None:
            return chosen
        check_classes(self.reject, self._fitted().classes)
        chosen = chosen.astype(object)
        chosen[probabilities.max(1, initial=0.0) < self.reject] = None
        return chosen

    def predict_proba(self, images: Iterable[Input]) -> np.ndarray:
        """Predicts the probability of each class, calibrated on meta-val: (Q, N) float64.

        Rows add up to 1. A transductive method predicts all images of one call together, so each
        depends on the others, and raises ValueError for too many images.
        """
        none = np.empty((0, len(self._fitted().classes)))
        return np.concatenate([none, *map(self._probabilities, self._batches(images))])

    def score(
        self,
        images: Iterable[Input],
        labels: Iterable[Hashable],
        sample_weight: Sequence[float] | np.ndarray | None = None,
    ) -> float:
        """Computes the fraction of the images whose label is predicted, weighted if given."""
        answers = self.predict(images)
        if not len(answers):
            raise ValueError("there are no images to score: give at least one")
        right = [answer == label for answer, label in zip(answers, of_labels.listed(labels, len(answers)), strict=True)]
        return float(np.average(right, axis=0, weights=sample_weight))

    def explain(self, image: Input, count: int = 5) -> list[Evidence]:
        """Returns the support images with the largest weights for an image (docs/learner.md)."""
        return self.explain_all([image], count)[0]

    def explain_all(self, images: Iterable[Input], count: int = 5) -> list[list[Evidence]]:
        """Returns the explanation of each of several images."""
        if count < 1:
            raise ValueError(f"count={count} must be at least 1")
        kept = self._fitted()
        found: list[list[Evidence]] = []
        for some in self._batches(images):
            with IN_TURN, torch.no_grad():
                weights = self._adapted.weights(some)  # (B, S)
            heaviest = weights.topk(min(count, weights.shape[1]), dim=1)
            for values, rows in zip(heaviest.values.tolist(), heaviest.indices.tolist(), strict=True):
                pairs = zip(values, rows, strict=True)
                found.append([Evidence(kept.label(row), value, row, kept.example(row)) for value, row in pairs])
        return found

    def _support(self, images: Iterable[Input], ways: list[int], classes: list[Hashable]) -> SupportSet:
        if not ways:
            raise ValueError("there are no images: give at least one of each class")
        rows = torch.cat(list(chunks(images, self.trained.preparation)))  # (S, C, H, W) or (S, L)
        warn_of_dark(rows, self.trained.preparation)
        support = torch.cat([self._features(some) for some in rows.split(CHUNK)])
        examples: Examples = list(map(str, images)) if self.trained.takes_texts else rows
        return SupportSet(classes, torch.tensor(ways), support.cpu(), examples)

    def _keep(self, kept: SupportSet) -> None:
        self._adapted, self._support_set = self._adapt(kept), kept

    def _adapt(self, kept: SupportSet) -> Adapted:
        support, ways = kept.features.to(self.trained.device), kept.ways.to(self.trained.device)
        return Adapted(self.trained.algorithm, support, ways, len(kept.classes))

    @property
    def adapted(self) -> Adapted:
        """Algorithm adapted to the support set, on the current device of the weights."""
        return self._adapt(self._fitted())

    def _features(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return features(self.trained.algorithm, images.to(self.trained.device))

    def _batches(self, images: Iterable[Input]) -> Iterable[Tensor]:
        """Yields the features of images that are predicted together."""
        self._fitted()
        each = (self._features(some) for some in chunks(images, self.trained.preparation))
        return together(self.trained.algorithm, each) if self.trained.is_transductive else each

    def _probabilities(self, batch: Tensor) -> np.ndarray:
        with IN_TURN, torch.no_grad():
            logits = self._adapted.logits(batch).double() / self.trained.temperature  # (B, N)
        return logits.softmax(1).cpu().numpy()

    def _fitted(self) -> SupportSet:
        if not hasattr(self, "_support_set"):
            raise ValueError("this learner has not seen any classes yet: call fit(images, labels) first")
        return self._support_set

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Returns the arguments of the constructor, for scikit-learn."""
        return {"trained": self.trained, "reject": self.reject}

    def set_params(self, **params: Any) -> Self:
        """Sets arguments of the constructor. Raises ValueError for another name.

        Another `trained` forgets the fit: its support set was embedded by the earlier network.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"a Learner has no parameter {name!r}; it has {', '.join(self.get_params())}")
            if name == "trained" and value is not self.trained:
                vars(self).pop("_support_set", None)
            setattr(self, name, probability(value) if name == "reject" else value)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_adapted"}  # holds a function

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.__sklearn_is_fitted__():
            self._keep(self._support_set)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_support_set")

    def __sklearn_tags__(self) -> Any:
        return scikit_learn.tags()

    def get_metadata_routing(self) -> Any:
        """Returns the arguments that scikit-learn passes on: `sample_weight` of `score`."""
        return scikit_learn.routing()
