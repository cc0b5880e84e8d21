"""Answers as one self-contained HTML page.

It has no script and needs no network; it has light and dark colours, for phone and desktop.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from metalearn.files import write_text
from metalearn.html import environment, image_address
from metalearn.learner import Learner
from metalearn.learner.inputs import Input
from metalearn.learner.learner import Evidence
from metalearn.predict.files import Item
from metalearn.predict.images import ImageReader
from metalearn.predict.outputs import NONE, Answer
from metalearn.predict.reader import AbstractReader

MOST_CARDS = 1000  # limit of a page, to the smallest probabilities
SIDE, SMALL = 128, 56  # largest side of an image and of an example, in pixels


class Card(NamedTuple):
    """Image or text on the page."""

    name: str
    image: str | None  # data: address
    probability: float
    evidence: list[Evidence]


class Group(NamedTuple):
    """Images or texts of a class."""

    name: str
    size: int
    cards: list[Card]


@dataclass(frozen=True)
class Sorted:
    """Sorted images or texts, and their examples."""

    learner: Learner
    reader: AbstractReader
    support: list[Item]  # the examples; none for a saved learner
    answers: list[Answer]

    @cached_property
    def shown(self) -> list[Answer]:
        """Returns the answers on the page, the least sure first."""
        return sorted(self.answers, key=lambda answer: answer.probability)[:MOST_CARDS]

    def groups(self) -> Iterator[Group]:
        """Yields the classes by name, the rejected inputs last."""
        shown, addresses = [answer.item for answer in self.shown], list[str | None]()

        def opened() -> Iterator[Input]:  # one by one, since photographs take memory
            for given in self.reader.opened(shown, "drawing the page"):
                addresses.append(address(given, SIDE) if isinstance(given, Image.Image) else None)
                yield given

        explained = self.learner.explain_all(opened(), count=3)
        items = self.reader.readable(shown)
        evidence = dict(zip(items, explained, strict=True))
        thumbnails = dict(zip(items, addresses, strict=True))
        names = sorted({answer.label for answer in self.answers}, key=lambda name: (name is None, name))
        for name in names:
            cards = [
                Card(self.reader.name(item), thumbnails[item], probability, evidence[item])
                for item, label, probability in self.shown
                if label == name and item in thumbnails
            ]
            yield Group(NONE if name is None else name, sum(answer.label == name for answer in self.answers), cards)

    def example(self, evidence: Evidence) -> str | None:
        """Returns the data: address of an example; None for a text, or if it is no longer known."""
        if not isinstance(self.reader, ImageReader):
            return None
        if self.support:
            return address(self.reader.open(self.support[evidence.row]), SMALL)
        if not isinstance(evidence.example, np.ndarray):
            return None
        return address(self.reader.preparation.to_image(evidence.example), SMALL)


def write(path: Path, results: Sorted) -> None:
    write_text(path, render(results), errors="replace")


def render(results: Sorted) -> str:
    """Renders the whole page."""
    template = environment("metalearn.predict").get_template("page.html")
    groups = list(results.groups())
    used = {evidence.row: evidence for group in groups for card in group.cards for evidence in card.evidence}
    drawn = {row: results.example(evidence) for row, evidence in used.items()}  # each once, even if it is shown often
    origin = results.learner.trained.origin
    return template.render(
        groups=groups,
        examples={row: image for row, image in drawn.items() if image},
        kind=results.reader.kind,
        num_items=len(results.answers),
        num_shown=sum(len(group.cards) for group in groups),
        num_classes=len(results.learner.classes_),
        made_by=f"{origin.network}, trained on {origin.dataset}",
        unreadable=results.reader.unreadable,
    )


def address(image: Image.Image, side: int) -> str:
    """Encodes an image as a data: address, with no side longer than `side` pixels."""
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image_address(image, "webp")
