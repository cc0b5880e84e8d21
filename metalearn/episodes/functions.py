"""The data module of function families: a few points of a function, and others to predict."""

import sys
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from metalearn.episodes.loaders import AbstractEpisodes, tasks_together
from metalearn.episodes.seeds import generator
from metalearn.episodes.setting import Fault, Setting, check_data, counts_that_fit, refuse
from metalearn.types import Episode, Split

LARGEST = 1_000_000  # limit of points in an episode


class FunctionFamily(Protocol):
    """Source of regression tasks.

    A family with a limited number of points, such as the pixels of images, also has `most_points`.
    """

    def points(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws points of one function: inputs (count, *X) and targets (count, 1), float32."""
        ...


class FunctionDataModule(AbstractEpisodes[Episode]):
    """Data module of regression tasks: `shot` support points and `query` query points.

    The single output takes the place of the ways of a classification, so `way` is 1.

    Args:
        families: source of the functions of each split.
        settings: setting of each split.
        seed: seed of the training episodes.
        tasks_per_batch: number of tasks T in a training batch.

    Examples:
        >>> from metalearn import Sinusoid
        >>> family = Sinusoid(
        ...     [1], functions=["line"], amplitude=[0.1, 5.0], phase=[0.0, 3.14], slope=[-3.0, 3.0],
        ...     intercept=[-3.0, 3.0], x=[-5.0, 5.0],
        ... )
        >>> data = FunctionDataModule(
        ...     {"test": family}, {"test": Setting(way=1, shot=5, query=10, num_episodes=2)},
        ...     seed=0, tasks_per_batch=1,
        ... )
        >>> data.draw("test", 0).query_x.shape  # (Q, *X)
        torch.Size([10, 1])
    """

    def __init__(
        self,
        families: Mapping[Split, FunctionFamily],
        settings: Mapping[Split, Setting],
        *,
        seed: int,
        tasks_per_batch: int,
    ) -> None:
        check_data(families, settings, "families")
        faults = [fault for split, setting in settings.items() for fault in _faults(setting, split, families[split])]
        super().__init__(settings, seed=seed, tasks_per_batch=tasks_per_batch, faults=faults)
        self.families = families
        for split in settings:
            check_family(families[split])
        self.has_vectors = all(self.draw(split, 0).query_x.ndim == 2 for split in settings)

    def check(self, setting: Setting, split: Split) -> None:
        refuse(fault._replace(remedy="") for fault in _faults(setting, split, self.families[split]))

    def draw(self, split: Split, index: int) -> Episode:
        self.check_split(split)
        (shot,), (query,) = self.shape(split, index, sys.maxsize)
        rng = generator(self.seed_of(split), split, index)
        points = map(np.ascontiguousarray, self.families[split].points(rng, shot + query))  # as the hash takes them
        x, y = map(torch.from_numpy, points)
        return Episode(x[:shot], y[:shot], x[shot:], y[shot:])

    def tasks_of_evaluation(self, split: Split) -> int:
        if not (self.evaluates_together and self.settings[split].has_one_shape):
            return 1
        episode = self.draw(split, 0)
        return tasks_together(episode.support_x.numel() + episode.query_x.numel())

    def collate(self, drawn: list[Episode]) -> Episode:
        return Episode(*map(torch.stack, zip(*drawn, strict=True)))

    def episodes(self, batch: Episode, split: Split) -> Episode:
        return batch

    def data_sha256(self, split: Split) -> str:
        return ""  # each episode is made of numbers of its own


def _faults(setting: Setting, split: Split, family: FunctionFamily) -> list[Fault]:
    """Lists the faults of a setting of regression tasks."""
    if faults := setting.number_faults(split):
        return faults
    key = f"episode.{split}"
    for name, usual in {"shots": ("equal", "unequal"), "queries": ("equal",), "sampling": ("uniform",)}.items():
        if (value := getattr(setting, name)) not in usual:
            faults.append(Fault(f"{key}.{name}={value} is for classes of images", f"{key}.{name}={usual[0]}"))
    if setting.way != 1:
        faults.append(Fault(f"{key}.way is {setting.way}; a function has one output, so way=1", f"{key}.way=1"))
    shot, most = setting.largest_shot, getattr(family, "most_points", LARGEST)
    if shot + setting.query > most:
        what = f"{key} has shot {shot} + query {setting.query}; {most:,} points are the most"
        faults.append(Fault(what, counts_that_fit(key, shot, most)))
    return faults


def check_family(family: FunctionFamily) -> None:
    """Checks the points of a family.

    Raises ValueError with the expected and the actual type and shape.
    """
    (x, y), again = (family.points(np.random.default_rng(0), 3) for _ in range(2))
    for name, value in (("inputs", x), ("targets", y)):
        good = isinstance(value, np.ndarray) and value.dtype == np.float32 and value.shape[:1] == (3,)
        if not good or (value is y and y.shape != (3, 1)):
            kind = f"{getattr(value, 'dtype', type(value).__name__)} {getattr(value, 'shape', '')}"
            raise ValueError(
                f"{type(family).__name__}.points gave {name} {kind} for a count of 3; "
                "it must give arrays of float32, inputs (count, *X) and targets (count, 1)"
            )
    if not all(np.array_equal(*pair, equal_nan=True) for pair in zip((x, y), again, strict=True)):
        raise ValueError(
            f"{type(family).__name__}.points gave other points for an equal generator, so no episode could be drawn "
            "again: take all random numbers from rng"
        )
