"""Episode i of a split as a pure function of (seed, split, i).

There is no generator whose state could drift: any process can draw any episode, resuming needs one number, and two runs
that test on the same split see the same tasks whatever their seed, algorithm or number of processes.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.data.bank import ClassBank
from metalearn.types import SPLITS, Episode, Split


@dataclass(frozen=True)
class Setting:
    """The shape of an episode: `way` classes, `shot` support and `query` query images of each."""

    way: int
    shot: int
    query: int

    def check(self, bank: ClassBank, split: Split) -> None:
        """Raises ValueError, in one line, when the split cannot fill such an episode."""
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"episode.{split}.{name} is {value}; it must be at least 1")
        if self.way > bank.num_classes:
            raise ValueError(f"way {self.way} exceeds the {bank.num_classes} classes of split '{split}'")
        if self.shot + self.query > bank.smallest_class:
            raise ValueError(
                f"shot {self.shot} + query {self.query} exceeds the {bank.smallest_class} images "
                f"of the smallest class of split '{split}'"
            )


class Draw(NamedTuple):
    """An episode before its images are fetched: rows of the bank, and the way (0 .. N - 1) of each row."""

    support_rows: Tensor  # (T, S) int64
    support_ways: Tensor  # (T, S) int64
    query_rows: Tensor  # (T, Q) int64
    query_ways: Tensor  # (T, Q) int64


def draw(rows: Sequence[np.ndarray], setting: Setting, *, seed: int, split: Split, index: int) -> Draw:
    """One episode, without the leading task axis; support and query are disjoint, the queries are shuffled.

    `rows` are those of each class. Shuffled, because a batch in class order tells a network that normalises over the
    queries more than it should know.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    classes = rng.choice(len(rows), setting.way, replace=False)  # (N,)
    size = setting.shot + setting.query
    picked = np.stack([rng.choice(rows[c], size, replace=False) for c in classes])  # (N, shot + query)
    ways = np.repeat(np.arange(setting.way)[:, None], size, axis=1)  # (N, shot + query)
    order = rng.permutation(setting.way * setting.query)
    return Draw(
        torch.from_numpy(picked[:, : setting.shot].ravel()),
        torch.from_numpy(ways[:, : setting.shot].ravel()),
        torch.from_numpy(picked[:, setting.shot :].ravel()[order]),
        torch.from_numpy(ways[:, setting.shot :].ravel()[order]),
    )


def draw_images(rows: Sequence[np.ndarray], size: int, *, seed: int, split: Split, index: int) -> Draw:
    """`size` different images of all classes, as the queries of a task without support rows.

    What ordinary classification trains on; the ways are the classes of the split.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    ends = np.cumsum([len(one) for one in rows])  # of the classes, were their rows one behind the other
    picked = rng.choice(ends[-1], size, replace=False, shuffle=False)
    classes = np.searchsorted(ends, picked, side="right")
    query_rows = np.array([rows[c][i - ends[c]] for c, i in zip(classes, picked, strict=True)])
    none = torch.empty(0, dtype=torch.int64)
    return Draw(none, none, torch.from_numpy(query_rows), torch.from_numpy(classes))


def collate(draws: Iterable[Draw]) -> Draw:
    """Stack single episodes to a batch."""
    return Draw(*map(torch.stack, zip(*draws, strict=True)))


def fetch(images: Tensor, draws: Draw, way: int) -> Episode:
    """The images and one-hot targets of a batch of draws, on the device of `images` (M, C, H, W) uint8.

    Intensities become 0 .. 1.
    """

    def inputs(rows: Tensor) -> Tensor:  # (T, B) -> (T, B, C, H, W)
        return images[rows].float() / 255

    def targets(ways: Tensor) -> Tensor:  # (T, B) -> (T, B, N)
        return F.one_hot(ways, way).float()

    return Episode(
        inputs(draws.support_rows),
        targets(draws.support_ways),
        inputs(draws.query_rows),
        targets(draws.query_ways),
    )


def episodes_sha256(bank: ClassBank, draws: Iterable[Draw]) -> str:
    """Hash of a list of episodes and of the data they draw on: equal hashes, equal episodes."""
    digest = hashlib.sha256(bank.sha256().encode())
    for one in draws:
        for part in one:
            digest.update(part.numpy().data)
    return digest.hexdigest()
