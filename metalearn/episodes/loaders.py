"""The dataloaders of a run, whatever its episodes are made of, and the cursor from which a resumed run goes on."""

import copy
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Self, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from metalearn.episodes.sampling import Fault, Setting, Shape, refuse
from metalearn.types import Episode, IndexedBatch, Split

Drawn = TypeVar("Drawn")
"""What drawing an episode gives, and, stacked, a batch of them: a tuple of tensors."""

EVALUATION_SEED = 0
"""Seed of all meta-val and meta-test episodes, so that every run of every algorithm is scored on the same ones."""


class AbstractEpisodes(pl.LightningDataModule, ABC, Generic[Drawn]):
    """Batches of episodes; a subclass says how one is drawn and what a batch of them becomes on the device.

    In training, step b on process r of R draws episodes (b * R + r) * T onwards, T being `tasks_per_batch`; evaluation
    gives process r those of index r, r + R, r + 2R, ... Drawing needs no worker processes.
    """

    batch_size: int | None = None  # images of a training batch of all base classes; None where training takes episodes
    test_name = "test"  # under which the scores of the meta-test episodes are logged

    def __init__(
        self,
        settings: Mapping[Split, Setting],
        *,
        seed: int,
        tasks_per_batch: int,
        num_episodes: Mapping[Split, int],
        faults: Iterable[Fault],
    ) -> None:
        """`faults` are those that the subclass found in the settings: all are refused in one line."""
        super().__init__()
        counts = {f"episode.{split}.num_episodes": count for split, count in num_episodes.items()}
        low = {name: count for name, count in {"tasks_per_batch": tasks_per_batch, **counts}.items() if count < 1}
        numbers = [Fault(f"{name} is {count}; it must be at least 1") for name, count in low.items()]
        if seed < 0:
            numbers.append(Fault(f"seed is {seed}; it must not be negative"))
        refuse([*numbers, *faults])
        self.settings, self.num_episodes = dict(settings), dict(num_episodes)
        self.seed, self.tasks_per_batch = seed, tasks_per_batch
        self._episodes_before = 0  # that were trained on before the checkpoint which is resumed
        self._batches_before: int | None = 0  # Lightning's count of them; None until it has restored it

    @abstractmethod
    def draw(self, split: Split, index: int) -> Drawn:
        """Episode `index` of a split, a function of nothing but these and the seed, without the leading task axis."""

    @abstractmethod
    def check(self, setting: Setting, split: Split) -> None:
        """Raises ValueError, in one line, when the split cannot fill episodes of one more setting."""

    @abstractmethod
    def collate(self, drawn: list[Drawn]) -> Drawn:
        """Episodes of one setting as one batch."""

    @abstractmethod
    def episodes(self, batch: Drawn, split: Split) -> Episode:
        """The tensors of a batch, on the device that the batch is on."""

    def tasks_of_evaluation(self, split: Split) -> int:
        """Episodes of a batch of evaluation."""
        return 1

    @abstractmethod
    def test_episodes_sha256(self, count: int) -> str:
        """Hash of the first `count` meta-test episodes and of all that they hold."""

    def train_dataloader(self) -> DataLoader[Drawn]:
        return DataLoader(_Stream(self), batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Drawn]]:
        return DataLoader(_Fixed(self, "val"), batch_size=None)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Drawn]]:
        return DataLoader(_Fixed(self, "test"), batch_size=None)

    def tested_by(self, setting: Setting, name: str) -> Self:
        """The same episodes but for those of meta-test, which are of another setting and logged under `name`."""
        other = copy.copy(self)
        other.settings, other.test_name = {**self.settings, "test": setting}, name
        return other

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Episode | IndexedBatch:
        """The tensors of a training batch; those of an evaluation come with the indices of their episodes."""
        assert self.trainer is not None
        if self.trainer.training:
            return self._converted(self.episodes(batch, "train"))
        indices, drawn = batch
        split: Split = "test" if self.trainer.testing else "val"
        return IndexedBatch(indices, self._converted(self.episodes(drawn, split)))

    def _converted(self, episodes: Episode) -> Episode:
        """Episodes in the precision of the trainer: float64, say. Lightning has seen what was drawn only."""
        assert self.trainer is not None
        return self.trainer.precision_plugin.convert_input(episodes)

    def shape(self, split: Split, index: int, smallest_class: int) -> Shape:
        """The shape of an episode, which is that of its batch."""
        tasks = self.tasks_per_batch if split == "train" else 1
        batch = index // tasks
        return self.settings[split].shape(smallest_class, seed=self.seed_of(split), split=split, batch=batch)

    def seed_of(self, split: Split) -> int:
        return self.seed if split == "train" else EVALUATION_SEED

    def state_dict(self) -> dict[str, Any]:
        return {"episodes_done": self.episodes_done()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._episodes_before, self._batches_before = state_dict["episodes_done"], None

    def episodes_done(self) -> int:
        """Episodes that the training has seen, over all epochs, processes and resumptions."""
        assert self.trainer is not None
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
        if self._batches_before is None:
            self._batches_before = batches
        since = batches - self._batches_before
        return self._episodes_before + since * self.tasks_per_batch * self.trainer.world_size

    def train_batches(self) -> Iterator[Drawn]:
        """The training batches of this process, endlessly, from the first that it has not seen.

        Lightning asks anew in every epoch, which may end anywhere.
        """
        assert self.trainer is not None
        tasks, world, rank = self.tasks_per_batch, self.trainer.world_size, self.trainer.global_rank
        for step in itertools.count(self.episodes_done() // (tasks * world)):
            first = (step * world + rank) * tasks
            yield self.collate([self.draw("train", index) for index in range(first, first + tasks)])

    def evaluation_indices(self, split: Split) -> range:
        """The episodes that this process evaluates: every one is some process's, none is two's."""
        assert self.trainer is not None
        return range(self.trainer.global_rank, self.num_episodes[split], self.trainer.world_size)


class _Stream(IterableDataset[Drawn]):
    def __init__(self, data: AbstractEpisodes[Drawn]) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Drawn]:
        return self.data.train_batches()


class _Fixed(Dataset[tuple[Tensor, Drawn]], Generic[Drawn]):
    def __init__(self, data: AbstractEpisodes[Drawn], split: Split) -> None:
        self.data, self.split = data, split
        self.indices, self.tasks = data.evaluation_indices(split), data.tasks_of_evaluation(split)

    def __len__(self) -> int:
        return math.ceil(len(self.indices) / self.tasks)

    def __getitem__(self, batch: int) -> tuple[Tensor, Drawn]:
        if batch >= len(self):
            raise IndexError(batch)
        indices = self.indices[batch * self.tasks : (batch + 1) * self.tasks]
        return torch.tensor(indices), self.data.collate([self.data.draw(self.split, index) for index in indices])
