"""Episode i of a split as a pure function of (seed, split, i).

No generator has a state that could drift. Any process can draw any episode, and resuming needs one
number. Two runs that test on the same split see the same tasks, whatever their seed, algorithm or
number of processes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.data.bank import ClassBank
from metalearn.episodes.counts import dirichlet_queries, meta_dataset_shots
from metalearn.types import SPLITS, Episode, Split

Shots = Literal["equal", "unequal", "meta_dataset"]
Queries = Literal["equal", "unequal"]
Sampling = Literal["uniform", "hard"]


class Shape(NamedTuple):
    """Shape that all episodes of one batch share."""

    shots: tuple[int, ...]  # support images of each of the N classes
    queries: tuple[int, ...]  # query images of each class


class Fault(NamedTuple):
    """Reason why a setting is impossible."""

    what: str
    remedy: str = ""  # overrides that make it possible, if any


def refuse(faults: Iterable[Fault]) -> None:
    """Raises ValueError with all faults and their remedies in one line, if there are faults."""
    faults = list(faults)
    if faults:
        remedy = " ".join(fault.remedy for fault in faults if fault.remedy)
        raise ValueError("; ".join(fault.what for fault in faults) + (f": type {remedy}" if remedy else ""))


@dataclass(frozen=True)
class Setting:
    """Setting of the episodes of a split.

    Args:
        way: number of classes N, or a range [smallest, largest] from which each batch draws.
        shot: number of support images of a class, or a range. With `meta_dataset`, it caps the
            images of a class that the rule counts (100 in the paper).
        query: number of query images of each class.
        shots: `equal`: all classes of a batch have one shot. `unequal`: each class draws its shot
            from the range. `meta_dataset`: the shots follow the rule of Triantafillou et al. 2020.
        queries: `equal`: each class has `query` queries. `unequal`: an episode has as many queries,
            but their classes follow the rule of Veilleux et al. 2021.
        sampling: `uniform`: all classes are equally likely. `hard`: those of recent errors are more
            likely, in training (Liu et al. 2020).

    Examples:
        >>> Setting(way=5, shot=1, query=15).has_one_shape  # 5-way 1-shot
        True
        >>> Setting(way=[5, 20], shot=[1, 5], query=5).has_one_shape  # drawn for each batch
        False
    """

    way: int | Sequence[int]
    shot: int | Sequence[int]
    query: int
    shots: Shots = "equal"
    queries: Queries = "equal"
    sampling: Sampling = "uniform"

    @property
    def has_one_shape(self) -> bool:
        """Whether all episodes have as many support and as many query rows."""
        return isinstance(self.way, int) and isinstance(self.shot, int) and self.shots != "meta_dataset"

    def number_faults(self, split: Split) -> list[Fault]:
        """Lists the numbers and ranges that no episode can have."""
        faults = []
        for name, value in (("way", self.way), ("shot", self.shot), ("query", self.query)):
            given = f"episode.{split}.{name} is {value}"
            if not isinstance(value, int) and (len(value) != 2 or value[0] > value[1]):
                faults.append(Fault(f"{given}; a range has a smallest and a largest number"))
            elif _range(value)[0] < 1:
                faults.append(Fault(f"{given}; it must be at least 1"))
        return faults

    def faults(self, bank: ClassBank, split: Split) -> list[Fault]:
        """Lists the reasons why the classes of a split cannot fill such an episode.

        An episode of fewer than 2 classes is a fault too, since it asks nothing.
        """
        if faults := self.number_faults(split):
            return faults
        (fewest, way), shot, key = _range(self.way), _range(self.shot)[1], f"episode.{split}"
        if fewest < 2:
            what = f"{key}.way is {self.way}; a task needs at least 2 classes"
            faults.append(Fault(what, f"{key}.way=2" if way < 2 else f"{key}.way=[2,{way}]"))
        if way > bank.num_classes:
            most = bank.num_classes if fewest >= min(way, bank.num_classes) else f"[{fewest},{bank.num_classes}]"
            what = f"way {way} exceeds the {bank.num_classes} classes of split '{split}'"
            faults.append(Fault(what, f"{key}.way={most}" if bank.num_classes > 1 else ""))
        if self.shots == "meta_dataset":
            shot = 1  # the rule adapts to the available images
        if shot + self.query > (available := bank.smallest_class):
            remedy = (
                f"{key}.query={available - shot}" if shot < available else f"{key}.shot=1 {key}.query={available - 1}"
            )
            what = f"shot {shot} + query {self.query} exceeds the {available} {bank.kind} of '{bank.name_of_smallest}'"
            faults.append(Fault(f"{what}, the smallest class of split '{split}'", remedy if available > 1 else ""))
        return faults

    def shape(self, smallest_class: int, *, seed: int, split: Split, batch: int) -> Shape:
        """Returns the shape of all episodes of a batch; `smallest_class` is a number of images."""
        if isinstance(self.way, int) and isinstance(self.shot, int) and self.has_one_shape and self.queries == "equal":
            return Shape((self.shot,) * self.way, (self.query,) * self.way)
        # The seed differs from that of the rows. It ends in 1, because a final 0 seeds like no
        # final number.
        rng = np.random.default_rng([seed, SPLITS.index(split), batch, 1])
        way = int(rng.integers(*_range(self.way), endpoint=True))
        if self.shots == "meta_dataset":
            shots = meta_dataset_shots(rng, way, smallest_class - self.query, _range(self.shot)[1])
        else:
            each = rng.integers(*_range(self.shot), size=1 if self.shots == "equal" else way, endpoint=True)
            shots = tuple(int(shot) for shot in np.broadcast_to(each, way))
        if self.queries == "equal":
            return Shape(shots, (self.query,) * way)
        return Shape(shots, dirichlet_queries(rng, way * self.query, [smallest_class - shot for shot in shots]))


def _range(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


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
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
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
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    ends = np.cumsum([len(own) for own in rows])  # end of each class in the concatenated rows
    picked = rng.choice(ends[-1], size, replace=False, shuffle=False)
    classes = np.searchsorted(ends, picked, side="right")
    query_rows = np.array([rows[c][i - ends[c]] for c, i in zip(classes, picked, strict=True)])
    none = torch.empty(0, dtype=torch.int64)
    return Draw(none, none, torch.from_numpy(query_rows), torch.from_numpy(classes), len(rows))


def draw_random(numbers: int, rows: int, *, seed: int, split: Split, index: int) -> Tensor:
    """Draws the numbers of an augmentation, uniform in [0, 1), as bits: (rows, numbers)."""
    # Differs from the seed of the rows.
    rng = np.random.default_rng([seed, SPLITS.index(split), index, 0, 0])
    return torch.from_numpy(rng.random((rows, numbers), np.float32)).view(torch.int32)


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
