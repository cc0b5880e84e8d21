"""Episode i of a split as a pure function of (seed, split, i).

There is no generator whose state could drift: any process can draw any episode, resuming needs one number, and two runs
that test on the same split see the same tasks whatever their seed, algorithm or number of processes.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.data.bank import ClassBank
from metalearn.types import SPLITS, Episode, Split

Shots = Literal["equal", "unequal", "meta_dataset"]
Queries = Literal["equal", "unequal"]


class Shape(NamedTuple):
    """What all episodes of one batch have in common."""

    shots: tuple[int, ...]  # support images of each of its N classes
    queries: tuple[int, ...]  # query images of each class


class Fault(NamedTuple):
    """Something that makes a setting impossible."""

    what: str
    remedy: str = ""  # overrides that make it possible, where there are such


def refuse(faults: Iterable[Fault]) -> None:
    """Raises ValueError that says in one line what is wrong and what to type, if anything is wrong."""
    faults = list(faults)
    if faults:
        remedy = " ".join(fault.remedy for fault in faults if fault.remedy)
        raise ValueError("; ".join(fault.what for fault in faults) + (f": type {remedy}" if remedy else ""))


@dataclass(frozen=True)
class Setting:
    """Which shapes the episodes of a split have: `way` classes, `shot` support and `query` query images of each.

    Way and shot may be ranges [smallest, largest], from which each batch draws its own. With `shots="unequal"` each
    class draws its own shot from the range; with "meta_dataset" the way is drawn, and the shots by the rule of
    Triantafillou et al. 2020, of which `shot` is the largest number that a class counts for (100 there). With
    `queries="unequal"` the queries of an episode, as many as before, are of the classes by the rule of
    Veilleux et al. 2021.
    """

    way: int | Sequence[int]
    shot: int | Sequence[int]
    query: int
    shots: Shots = "equal"
    queries: Queries = "equal"

    @property
    def has_one_shape(self) -> bool:
        """Whether all episodes have as many support and as many query rows."""
        return isinstance(self.way, int) and isinstance(self.shot, int) and self.shots != "meta_dataset"

    def number_faults(self, split: Split) -> list[Fault]:
        """A range or a number that no episode can have."""
        faults = []
        for name, value in (("way", self.way), ("shot", self.shot), ("query", self.query)):
            given = f"episode.{split}.{name} is {value}"
            if not isinstance(value, int) and (len(value) != 2 or value[0] > value[1]):
                faults.append(Fault(f"{given}; a range has a smallest and a largest number"))
            elif _range(value)[0] < 1:
                faults.append(Fault(f"{given}; it must be at least 1"))
        return faults

    def faults(self, bank: ClassBank, split: Split) -> list[Fault]:
        """Why the classes of a split cannot fill such an episode, or an episode of them would ask nothing."""
        if faults := self.number_faults(split):
            return faults
        (fewest, way), shot, key = _range(self.way), _range(self.shot)[1], f"episode.{split}"
        if fewest < 2:
            what = f"{key}.way is {self.way}; there is nothing to tell apart in fewer than 2 classes"
            faults.append(Fault(what, f"{key}.way=2" if way < 2 else f"{key}.way=[2,{way}]"))
        if way > bank.num_classes:
            most = bank.num_classes if fewest >= min(way, bank.num_classes) else f"[{fewest},{bank.num_classes}]"
            what = f"way {way} exceeds the {bank.num_classes} classes of split '{split}'"
            faults.append(Fault(what, f"{key}.way={most}" if bank.num_classes > 1 else ""))
        if self.shots == "meta_dataset":
            shot = 1  # it takes what there is
        if shot + self.query > (available := bank.smallest_class):
            remedy = (
                f"{key}.query={available - shot}" if shot < available else f"{key}.shot=1 {key}.query={available - 1}"
            )
            what = f"shot {shot} + query {self.query} exceeds the {available} images of '{bank.name_of_smallest}'"
            faults.append(Fault(f"{what}, the smallest class of split '{split}'", remedy if available > 1 else ""))
        return faults

    def shape(self, smallest_class: int, *, seed: int, split: Split, batch: int) -> Shape:
        """The shape of all episodes of a batch, by its number; `smallest_class` has so many images."""
        if isinstance(self.way, int) and isinstance(self.shot, int) and self.has_one_shape and self.queries == "equal":
            return Shape((self.shot,) * self.way, (self.query,) * self.way)
        # Apart from what draws the rows of an episode; a last 0 would seed as no last number does.
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


def dirichlet_queries(rng: np.random.Generator, total: int, available: Sequence[int]) -> tuple[int, ...]:
    """Query images of each class, `total` in all, in shares that are drawn from a Dirichlet distribution.

    Its parameter is 2 for each class, as in Veilleux et al. 2021, section 3. A class may have none, and none has
    more than are `available`.
    """
    shares = total * rng.dirichlet(np.full(len(available), 2.0))
    counts = np.zeros(len(available), int)
    for _ in range(total):  # the next query is of the class that lacks most
        counts[np.where(counts < available, shares - counts, -np.inf).argmax()] += 1
    return tuple(int(count) for count in counts)


def meta_dataset_shots(rng: np.random.Generator, way: int, available: int, counted: int) -> tuple[int, ...]:
    """Support images of each class of an unbalanced episode, by the rule of Triantafillou et al. 2020, section 3.2.

    `available` images of a class are none of its queries, the same number of each here, of which the rule counts
    `counted` at most; an episode has 500 support images at most.
    """
    beta = 1 - rng.random()  # in (0, 1]
    size = min(500, way * math.ceil(beta * min(counted, available)))
    shares = np.exp(rng.uniform(math.log(0.5), math.log(2), way))
    shares /= shares.sum()
    shots = np.minimum(np.floor(shares * (size - way)).astype(int) + 1, available)
    return tuple(int(shot) for shot in shots)


def _range(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class Draw(NamedTuple):
    """An episode before its images are fetched: rows of the bank, and the way (0 .. N - 1) of each row."""

    support_rows: Tensor  # (T, S) int64
    support_ways: Tensor  # (T, S) int64
    query_rows: Tensor  # (T, Q) int64
    query_ways: Tensor  # (T, Q) int64
    way: int  # N
    # (T, S + Q, K), the bits of what an augmentation of K random numbers asks for: as float32 they would be rounded to
    # the precision of the training on their way to the device.
    random: Tensor = torch.empty(0, dtype=torch.int32)


def draw(rows: Sequence[np.ndarray], shape: Shape, *, seed: int, split: Split, index: int) -> Draw:
    """One episode, without the leading task axis; support and query are disjoint, the queries are shuffled.

    `rows` are those of each class. Shuffled, because a batch in class order tells a network that normalises over the
    queries more than it should know.
    """
    shots, queries = shape
    way, counts = len(shots), np.add(shots, queries)
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    classes = rng.choice(len(rows), way, replace=False)  # (N,)
    picked = [rng.choice(rows[c], count, replace=False) for c, count in zip(classes, counts, strict=True)]
    order = rng.permutation(sum(queries))
    return Draw(
        torch.from_numpy(np.concatenate([of[:shot] for of, shot in zip(picked, shots, strict=True)])),
        torch.from_numpy(np.repeat(np.arange(way), shots)),
        torch.from_numpy(np.concatenate([of[shot:] for of, shot in zip(picked, shots, strict=True)])[order]),
        torch.from_numpy(np.repeat(np.arange(way), queries)[order]),
        way,
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
    return Draw(none, none, torch.from_numpy(query_rows), torch.from_numpy(classes), len(rows))


def draw_random(numbers: int, rows: int, *, seed: int, split: Split, index: int) -> Tensor:
    """What an augmentation needs for the rows of one episode, uniform in [0, 1): the bits of (rows, numbers)."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index, 0, 0])  # apart from what draws the rows
    return torch.from_numpy(rng.random((rows, numbers), np.float32)).view(torch.int32)


def collate(draws: Iterable[Draw]) -> Draw:
    """Stack single episodes of one way and shot to a batch."""
    draws = list(draws)
    return Draw(
        torch.stack([one.support_rows for one in draws]),
        torch.stack([one.support_ways for one in draws]),
        torch.stack([one.query_rows for one in draws]),
        torch.stack([one.query_ways for one in draws]),
        draws[0].way,
        torch.stack([one.random for one in draws]),
    )


def fetch(images: Tensor, draws: Draw) -> Episode:
    """The images and one-hot targets of a batch of draws, on the device of `images` (M, C, H, W) uint8.

    Intensities become 0 .. 1.
    """
    return gather(lambda rows: intensities(images[rows]), draws)


def intensities(images: Tensor) -> Tensor:
    """Bytes as numbers in 0 .. 1, of the same shape."""
    return images.float() / 255


def gather(inputs: Callable[[Tensor], Tensor], draws: Draw) -> Episode:
    """The inputs and one-hot targets of a batch of draws; `inputs` gives those of rows: (T, B) -> (T, B, *X)."""

    def targets(ways: Tensor) -> Tensor:  # (T, B) -> (T, B, N)
        return F.one_hot(ways, draws.way).float()

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
        for part in (one.support_rows, one.support_ways, one.query_rows, one.query_ways):
            digest.update(part.numpy().data)
    return digest.hexdigest()
