"""The episodes of a family of functions: points of one function to learn it from, and others to predict."""

import hashlib
import sys
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.episodes.sampling import Setting
from metalearn.types import SPLITS, Episode, Split


class FunctionFamily(Protocol):
    """What regression tasks are drawn from."""

    def points(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Points of one function of the family: inputs (count, *X) and targets (count, 1), float32."""
        ...


class FunctionDataModule(AbstractEpisodes[Episode]):
    """Batches of regression tasks: `shot` support points and `query` query points of a function each.

    The one output stands where a classification has its ways, so `way` is 1.
    """

    def __init__(
        self,
        families: Mapping[Split, FunctionFamily],
        settings: Mapping[Split, Setting],
        *,
        seed: int,
        tasks_per_batch: int,
        num_episodes: Mapping[Split, int],
    ) -> None:
        super().__init__(settings, seed=seed, tasks_per_batch=tasks_per_batch, num_episodes=num_episodes)
        self.families = families
        for split, setting in settings.items():
            self.check(setting, split)

    def check(self, setting: Setting, split: Split) -> None:
        setting.check_numbers(split)
        if setting.shots == "meta_dataset":
            raise ValueError(f"episode.{split}.shots=meta_dataset is for classes of images")
        if setting.way != 1:
            raise ValueError(f"episode.{split}.way is {setting.way}; a function has one output, so way=1")

    def draw(self, split: Split, index: int) -> Episode:
        (shot,), query = self.shape(split, index, sys.maxsize)
        rng = np.random.default_rng([self.seed_of(split), SPLITS.index(split), index])
        x, y = map(torch.from_numpy, self.families[split].points(rng, shot + query))
        return Episode(x[:shot], y[:shot], x[shot:], y[shot:])

    def collate(self, drawn: list[Episode]) -> Episode:
        return Episode(*map(torch.stack, zip(*drawn, strict=True)))

    def episodes(self, batch: Episode, split: Split) -> Episode:
        return batch

    def test_episodes_sha256(self, count: int) -> str:
        digest = hashlib.sha256()
        for index in range(count):
            for part in self.draw("test", index):
                digest.update(part.numpy().data)
        return digest.hexdigest()
