"""Test classes that a pretraining has seen: then a test measures how well they are remembered, not how fast learnt."""

from typing import Literal

Seen = Literal["all", "some", "none", "unknown"]


def seen_in_pretraining(dataset: type, pretrained_on: str | None) -> Seen | None:
    """How many of the test classes of a data set a pretraining has seen; None where there was no pretraining.

    A data set says how many of its test classes are classes of ImageNet, by an attribute `in_imagenet`.
    """
    if pretrained_on is None:
        return None
    in_imagenet: Seen = getattr(dataset, "in_imagenet", "unknown")
    return in_imagenet if pretrained_on.startswith("imagenet") else "unknown"
