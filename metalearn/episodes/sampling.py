"""Episode i of a split as a pure function of (seed, split, i).

No generator has a state that could drift. Any process can draw any episode, and resuming needs one
number. Two runs that test on the same split see the same tasks, whatever their seed, algorithm or
number of processes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metalearn.episodes.augmentation import num_of_class
from metalearn.episodes.seeds import AUGMENTATION, generator
from metalearn.episodes.setting import Shape
from metalearn.types import Augmentation, Split


class Draw(NamedTuple):
    """Episode before its images are fetched: rows of the bank, and each row's way (0 .. N - 1)."""

    support_rows: Tensor  # (T, S) int64
    support_ways: Tensor  # (T, S) int64
    query_rows: Tensor  # (T, Q) int64
    query_ways: Tensor  # (T, Q) int64
    way: int  # N
    # (T, S + Q, K), the bits of the K random numbers of an augmentation. As float32 they would be
    # rounded to the training precision on the way to the device.
    random: Tensor = torch.empty(0, dtype=torch.int32)


def draw(
    rows: Sequence[np.ndarray], shape: Shape, *, seed: int, split: Split, index: int, weights: np.ndarray | None = None
) -> Draw:
    """Draws one episode, without the leading task axis; `rows` lists the rows of each class.

    `weights` are the probabilities of the classes, equal if None. Support and query rows are
    disjoint. The queries are shuffled, because a network that normalises over the queries could
    exploit their order by class.
    """
    shots, queries = shape
    ways = np.arange(len(shots))
    support, query = [], []
    rng = generator(seed, split, index)
    classes = rng.choice(len(rows), len(shots), replace=False, p=weights)  # (N,)
    for c, shot, num_queries in zip(classes, shots, queries, strict=True):
        picked = rng.choice(rows[c], shot + num_queries, replace=False)
        support.append(picked[:shot])
        query.append(picked[shot:])
    order = rng.permutation(sum(queries))
    return Draw(
        torch.from_numpy(np.concatenate(support)),
        torch.from_numpy(ways.repeat(shots)),
        torch.from_numpy(np.concatenate(query)[order]),
        torch.from_numpy(ways.repeat(queries)[order]),
        len(ways),
    )


def draw_images(rows: Sequence[np.ndarray], size: int, *, seed: int, split: Split, index: int) -> Draw:
    """Draws `size` different images of all classes, as queries without support rows.

    Ordinary classification trains on them; the ways are the classes of the split.
    """
    rng = generator(seed, split, index)
    ends = np.cumsum([len(own) for own in rows])  # end of each class in the concatenated rows
    picked = rng.choice(ends[-1], size, replace=False, shuffle=False)
    classes = np.searchsorted(ends, picked, side="right")
    query_rows = np.array([rows[c][i - ends[c]] for c, i in zip(classes, picked, strict=True)])
    none = torch.empty(0, dtype=torch.int64)
    return Draw(none, none, torch.from_numpy(query_rows), torch.from_numpy(classes), len(rows))


def draw_random(augmentation: Augmentation, ways: Tensor, *, seed: int, split: Split, index: int) -> Tensor:
    """Draws the numbers of an augmentation, uniform in [0, 1), as bits: ways (B,) -> (B, K).

    `ways` lists the way of each image. Images of one way share the numbers of their class.
    """
    random = generator(seed, split, index, AUGMENTATION).random((len(ways), augmentation.num_random), np.float32)
    shared = num_of_class(augmentation)
    if shared:
        random[:, :shared] = random[ways.numpy(), :shared]  # row n has those of way n
    return torch.from_numpy(random).view(torch.int32)


def collate(draws: Iterable[Draw]) -> Draw:
    """Stacks single episodes of one way and shot into a batch."""
    draws = list(draws)
    return Draw(
        torch.stack([each.support_rows for each in draws]),
        torch.stack([each.support_ways for each in draws]),
        torch.stack([each.query_rows for each in draws]),
        torch.stack([each.query_ways for each in draws]),
        draws[0].way,
        torch.stack([each.random for each in draws]),
    )
