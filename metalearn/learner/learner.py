"""The learner: a classifier in the manner of scikit-learn, which needs no scikit-learn itself."""

import os
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from metalearn.learner import labels as of_labels
from metalearn.learner.adapted import AbstractAdapted, adapted, features
from metalearn.learner.images import CHUNK, Picture, chunks
from metalearn.learner.saving import Kept, read, write
from metalearn.learner.trained import Trained, build, checkpoint_of

JOINT = 2000
"""Queries that a transductive method predicts together at most: its memory grows with their number."""


class Evidence(NamedTuple):
    """A support image, and how much it counted."""

    label: Hashable
    weight: float  # 0 .. 1
    row: int  # of the support images, in the order in which they were given
    image: np.ndarray | None  # (H, W, C) uint8 as the network sees it; None where a saved learner keeps no images


class Learner:
    """Classifies images after a look at a few of each class; the weights of the network do not change.

    Args:
        trained: what a run has learned; `Learner.load` reads it.
        reject: probability below which `predict` answers None, "none of these".

    Example:
        learner = Learner.load("outputs/.../2026-11-21_10-00-00-abc123").fit(images, labels)
        learner.predict(["a.png", "b.jpg"])
    """

    _estimator_type = "classifier"  # for scikit-learn up to 1.5

    def __init__(self, trained: Trained, *, reject: float | None = None) -> None:
        self.trained, self.reject = trained, reject

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, reject: float | None = None) -> Self:
        """The learner of a run directory, of a checkpoint, or one that was saved, which is fitted already.

        Raises OSError or ValueError, in one line, for what is none of these.
        """
        checkpoint = checkpoint_of(Path(path))
        learner = cls(build(Path(path), checkpoint), reject=reject)
        if "learner" in checkpoint:
            learner._keep(read(Path(path), checkpoint["learner"]))
        return learner

    def save(self, path: str | os.PathLike[str], *, keep_images: bool = False) -> None:
        """Write network and support set into one file, from which `load` gives this learner again.

        Without `keep_images` only embeddings of the support images are in it; ValueError where the method predicts from
        the images themselves.
        """
        write(Path(path), self.trained.checkpoint, self._fitted(), keep_images=keep_images)

    def fit(self, images: Iterable[Picture], labels: Iterable[Hashable]) -> Self:
        """Learn the classes from images and their labels; what was fitted before is forgotten."""
        listed = list(labels)
        images = images if isinstance(images, Sequence | np.ndarray | Tensor) else list(images)
        if len(images) != len(listed) or not listed:
            raise ValueError(f"there are {len(images)} images and {len(listed)} labels; each image needs one")
        classes = of_labels.distinct(listed)
        self._keep(self._support(images, [classes.index(label) for label in listed], classes))
        return self

    def add_class(self, name: Hashable, images: Iterable[Picture]) -> Self:
        """Learn one more class, behind the others in `classes_`."""
        kept = self._fitted()
        if name in kept.classes:
            raise ValueError(f"the class {name!r:.60} is there already")
        images = list(images)
        more = self._support(images, [len(kept.classes)] * len(images), [*kept.classes, name])
        both = None
        if kept.images is not None and more.images is not None:
            both = torch.cat([kept.images, more.images])
        support = torch.cat([kept.features, more.features])
        self._keep(Kept(more.classes, torch.cat([kept.ways, more.ways]), support, both))
        return self

    @property
    def classes_(self) -> np.ndarray:
        """The classes in the order of the columns of `predict_proba`."""
        return of_labels.vector(self._fitted().classes)

    def predict(self, images: Iterable[Picture]) -> np.ndarray:
        """The class of each image, (Q,); None where no class has the probability `reject`."""
        return self.choose(self.predict_proba(images))

    def choose(self, probabilities: np.ndarray) -> np.ndarray:
        """What `predict` answers where these are the probabilities: (Q, N) -> (Q,)."""
        chosen = self.classes_[probabilities.argmax(1)]
        if self.reject is None:
            return chosen
        chosen = chosen.astype(object)
        chosen[probabilities.max(1, initial=0.0) < self.reject] = None
        return chosen

    def predict_proba(self, images: Iterable[Picture]) -> np.ndarray:
        """The probability of each class, calibrated on meta-val: (Q, N) float64, rows that add up to 1.

        A transductive method predicts all images of one call together, and each depends on the others: `JOINT` at most,
        ValueError for more.
        """
        return np.concatenate([self._probabilities(one) for one in self._batches(images)] or [self._none()])

    def score(self, images: Iterable[Picture], labels: Sequence[Hashable]) -> float:
        """The fraction of the images whose label is predicted."""
        return float(np.mean([one == other for one, other in zip(self.predict(images), labels, strict=True)]))

    def explain(self, image: Picture, count: int = 5) -> list[Evidence]:
        """The support images that count most for an image, the first one most (docs/learner.md)."""
        return self.explain_all([image], count)[0]

    def explain_all(self, images: Iterable[Picture], count: int = 5) -> list[list[Evidence]]:
        """The same for each of several images."""
        kept = self._fitted()
        found: list[list[Evidence]] = []
        for some in self._batches(images):
            with torch.no_grad():
                weights = self._adapted.weights(some)  # (B, S)
            heaviest = weights.topk(min(count, weights.shape[1]), dim=1)
            for values, rows in zip(heaviest.values.tolist(), heaviest.indices.tolist(), strict=True):
                pairs = zip(values, rows, strict=True)
                found.append([Evidence(kept.label(row), value, row, kept.picture(row)) for value, row in pairs])
        return found

    def _support(self, images: Iterable[Picture], ways: list[int], classes: list[Hashable]) -> Kept:
        pixels = torch.cat(list(chunks(images, self.trained.preparation)))  # (S, C, H, W)
        support = torch.cat([self._features(some) for some in pixels.split(CHUNK)])
        return Kept(classes, torch.tensor(ways), support.cpu(), pixels)

    def _keep(self, kept: Kept) -> None:
        self._adapted, self._kept = self._adapt(kept), kept

    def _adapt(self, kept: Kept) -> AbstractAdapted:
        support, ways = kept.features.to(self.trained.device), kept.ways.to(self.trained.device)
        return adapted(self.trained.algorithm, support, ways, len(kept.classes))

    @property
    def adapted(self) -> AbstractAdapted:
        """What the method has made of the support set, on the device where the weights are now."""
        return self._adapt(self._fitted())

    def _features(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return features(self.trained.algorithm, images.to(self.trained.device))

    def _batches(self, images: Iterable[Picture]) -> Iterable[Tensor]:
        """The features of the images that are predicted together, batch by batch."""
        self._fitted()
        each = (self._features(some) for some in chunks(images, self.trained.preparation))
        if not self.trained.is_transductive:
            yield from each
            return
        together: list[Tensor] = []
        for some in each:
            together.append(some)
            if sum(map(len, together)) > JOINT:
                raise ValueError(
                    f"{type(self.trained.algorithm).__name__} predicts the images of a call together, each with a view "
                    f"to the others, and {JOINT} at most: divide them into calls as you choose"
                )
        if together:
            yield torch.cat(together)

    @torch.no_grad()
    def _probabilities(self, batch: Tensor) -> np.ndarray:
        logits = self._adapted.logits(batch).double() / self.trained.temperature  # (B, N)
        return logits.softmax(1).cpu().numpy()

    def _none(self) -> np.ndarray:
        return np.empty((0, len(self._fitted().classes)))

    def _fitted(self) -> Kept:
        if not hasattr(self, "_kept"):
            raise ValueError("this learner has not seen any classes yet: call fit(images, labels) first")
        return self._kept

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What the constructor takes, as scikit-learn asks for it."""
        return {"trained": self.trained, "reject": self.reject}

    def set_params(self, **params: Any) -> Self:
        """Set what the constructor takes. Raises ValueError for another name."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"a Learner has no parameter {name!r}; it has {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_kept")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags  # only scikit-learn calls this

        inputs = InputTags(two_d_array=False, three_d_array=True)
        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags(), input_tags=inputs)
