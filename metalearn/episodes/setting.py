"""Settings of episodes, the shapes they draw, and the reasons why a setting is impossible."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from metalearn.data.bank import ClassBank
from metalearn.episodes.counts import MOST_SUPPORT, dirichlet_queries, meta_dataset_shots
from metalearn.episodes.seeds import SHAPE, generator
from metalearn.types import Split

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
        remedy = " ".join(dict.fromkeys(fault.remedy for fault in faults if fault.remedy))
        raise ValueError("; ".join(fault.what for fault in faults) + (f": type {remedy}" if remedy else ""))


def check_data(data: Container[Split], settings: Iterable[Split], name: str) -> None:
    """Raises ValueError for splits that have a setting and no data."""
    if missing := " and ".join(split for split in settings if split not in data):
        raise ValueError(f"{name} has no data of {missing}, but settings has it: give both, or leave out the setting")


def counts_that_fit(key: str, shot: int, available: int) -> str:
    """Returns the overrides of shot and query that need at most `available` examples, if any."""
    if available < 2:
        return ""
    return f"{key}.query={available - shot}" if shot < available else f"{key}.shot=1 {key}.query={available - 1}"


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
        num_episodes: number of episodes of an evaluation; those of a training have no end.

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
    num_episodes: int = 0

    def __post_init__(self) -> None:
        for name in ("way", "shot", "query"):
            if isinstance(value := getattr(self, name), np.integer):  # is no int
                object.__setattr__(self, name, int(value))

    @property
    def has_one_shape(self) -> bool:
        """Whether all episodes have as many support and as many query rows."""
        return isinstance(self.way, int) and isinstance(self.shot, int) and self.shots != "meta_dataset"

    @property
    def largest_way(self) -> int:
        """The number of ways, or the largest one of a range."""
        return _range(self.way)[1]

    @property
    def largest_shot(self) -> int:
        """The number of support images of a class, or the largest one of a range."""
        return _range(self.shot)[1]

    def number_faults(self, split: Split) -> list[Fault]:
        """Lists the words, numbers and ranges that no episode can have."""
        faults = []
        for name, words in (("shots", Shots), ("queries", Queries), ("sampling", Sampling)):
            if (word := getattr(self, name)) not in get_args(words):
                faults.append(Fault(f"episode.{split}.{name} is {word!r}; choose from {', '.join(get_args(words))}"))
        for name, value in (("way", self.way), ("shot", self.shot), ("query", self.query)):
            given = f"episode.{split}.{name} is {value}"
            if not isinstance(value, int | Sequence | np.ndarray) or (name == "query" and not isinstance(value, int)):
                faults.append(Fault(f"{given}; give a whole number{'' if name == 'query' else ', or a range'}"))
            elif not isinstance(value, int) and (len(value) != 2 or value[0] > value[1]):
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
        (fewest, way), shot, key = _range(self.way), self.largest_shot, f"episode.{split}"
        most = min(bank.num_classes, MOST_SUPPORT) if self.shots == "meta_dataset" else bank.num_classes
        low, high = max(fewest, 2), max(min(way, most), 2)
        remedy = "" if most < 2 else f"{key}.way=[{low},{high}]" if low < high else f"{key}.way={high}"
        if fewest < 2:
            faults.append(Fault(f"{key}.way is {self.way}; a task needs at least 2 classes", remedy))
        if way > bank.num_classes:
            faults.append(Fault(f"way {way} exceeds the {bank.num_classes} classes of split '{split}'", remedy))
        if self.shots == "meta_dataset":
            shot = 1  # the rule adapts to the available images
            if way > MOST_SUPPORT:
                what = f"{key}.way is {self.way}; an episode of shots=meta_dataset has {MOST_SUPPORT} support images"
                faults.append(Fault(f"{what} at most", remedy))
        if self.sampling != "uniform" and split != "train":
            faults.append(Fault(f"{key}.sampling is {self.sampling!r}, which is for training alone: leave it uniform"))
        if shot + self.query > (available := bank.smallest_class):
            what = f"shot {shot} + query {self.query} exceeds the {available} {bank.kind} of '{bank.name_of_smallest}'"
            faults.append(
                Fault(f"{what}, the smallest class of split '{split}'", counts_that_fit(key, shot, available))
            )
        return faults

    def shape(self, smallest_class: int, *, seed: int, split: Split, batch: int) -> Shape:
        """Returns the shape of all episodes of a batch; `smallest_class` is a number of images."""
        if self.has_one_shape and self.queries == "equal":
            return Shape((self.largest_shot,) * self.largest_way, (self.query,) * self.largest_way)
        rng = generator(seed, split, batch, SHAPE)
        way = int(rng.integers(*_range(self.way), endpoint=True))
        if self.shots == "meta_dataset":
            shots = meta_dataset_shots(rng, way, smallest_class - self.query, self.largest_shot)
        else:
            each = rng.integers(*_range(self.shot), size=1 if self.shots == "equal" else way, endpoint=True)
            shots = tuple(int(shot) for shot in np.broadcast_to(each, way))
        if self.queries == "equal":
            return Shape(shots, (self.query,) * way)
        return Shape(shots, dirichlet_queries(rng, way * self.query, [smallest_class - shot for shot in shots]))


def _range(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
