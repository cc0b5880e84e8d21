"""From the rows of a draw to the inputs and targets of an episode."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.episodes.sampling import Draw
from metalearn.types import Episode


def fetch(images: Tensor, draws: Draw) -> Episode:
    """Fetches images and one-hot targets of draws, on the device of `images` (M, C, H, W) uint8.

    Intensities become 0 .. 1; ids of tokens, (M, L) int32, stay what they are.
    """
    return gather(lambda rows: intensities(images[rows]), draws)


def intensities(images: Tensor) -> Tensor:
    """Scales bytes to 0 .. 1, in the same shape; ids of tokens, which are no bytes, stay."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def gather(inputs: Callable[[Tensor], Tensor], draws: Draw) -> Episode:
    """Gathers inputs and one-hot targets of draws; `inputs` maps rows (T, B) to (T, B, *X)."""

    def targets(ways: Tensor) -> Tensor:  # (T, B) -> (T, B, N)
        return F.one_hot(ways, draws.way).float()

    return Episode(
        inputs(draws.support_rows),
        targets(draws.support_ways),
        inputs(draws.query_rows),
        targets(draws.query_ways),
    )
