"""Test classes that a pretraining has seen.

A test then measures memory of these classes, not learning.
"""

from typing import Literal

Seen = Literal["all", "some", "none", "unknown"]


def seen_in_pretraining(dataset: type, pretrained_on: str | None) -> Seen | None:
    """Returns how many test classes of a data set a pretraining has seen.

    A data set states by `in_imagenet` how many of its test classes are classes of ImageNet. None:
    there was no pretraining.
    """
    if pretrained_on is None:
        return None
    in_imagenet: Seen = getattr(dataset, "in_imagenet", "unknown")
    return in_imagenet if pretrained_on.startswith("imagenet") else "unknown"
