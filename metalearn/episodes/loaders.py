"""The dataloaders of a run for any kind of episode, and the position where a run resumes."""

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Generic, Self, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from metalearn.episodes.digest import EpisodesDigest
from metalearn.episodes.setting import Fault, Setting, Shape, refuse
from metalearn.types import Episode, IndexedBatch, Split

Drawn = TypeVar("Drawn", bound=tuple[Any, ...])
"""Type of a drawn episode, and of a stacked batch: tensors, in the order of Episode."""

EVALUATION_SEED = 0
"""Seed of all meta-val and meta-test episodes, so that every run is scored on the same ones."""

MOST_TASKS = 50
"""Limit on the episodes of an evaluation batch."""

MOST_VALUES = 2**25
"""Limit on the values of an evaluation batch whose tasks adapt together: 128 MiB in float32."""


def tasks_together(values: int) -> int:
    """Returns the number of episodes of so many values that an evaluation adapts to together."""
    return max(1, min(MOST_TASKS, MOST_VALUES // values))


class AbstractEpisodes(pl.LightningDataModule, ABC, Generic[Drawn]):
    """Data module of episodes; a subclass draws an episode and turns a batch into tensors.

    In training, step b on process r of R draws the T episodes from number (b * R + r) * T on, where
    T is `tasks_per_batch`. In evaluation, process r gets the episodes r, r + R, r + 2R, ... Drawing
    is fast and needs no worker processes.

    Args:
        settings: setting of each split.
        seed: seed of the training episodes.
        tasks_per_batch: number of tasks T in a training batch.
        faults: faults that the subclass found in the settings.
    """

    batch_size: int | None = None  # images of a batch of all base classes; None: train on episodes
    test_name = "test"  # prefix of the logged meta-test scores
    has_vectors = False  # whether an input is a vector of numbers
    evaluates_together = False  # whether an evaluation batch has several tasks
    selects = True  # whether meta-val selects weights; False where training has seen its classes

    def __init__(
        self,
        settings: Mapping[Split, Setting],
        *,
        seed: int,
        tasks_per_batch: int,
        faults: Iterable[Fault],
    ) -> None:
        """Raises ValueError that lists all faults in one line."""
        super().__init__()
        evaluated = {split: setting for split, setting in settings.items() if split != "train"}
        counts = {f"episode.{split}.num_episodes": setting.num_episodes for split, setting in evaluated.items()}
        low = {name: count for name, count in {"tasks_per_batch": tasks_per_batch, **counts}.items() if count < 1}
        numbers = [Fault(f"{name} is {count}; it must be at least 1") for name, count in low.items()]
        if seed < 0:
            numbers.append(Fault(f"seed is {seed}; it must not be negative"))
        refuse([*numbers, *faults])
        self.settings, self.seed, self.tasks_per_batch = dict(settings), seed, tasks_per_batch
        self._episodes_before = 0  # episodes trained on before the checkpoint that is resumed
        # Lightning's count of these batches; None until Lightning restores it.
        self._batches_before: int | None = 0
        self._tested = self._new_digest("test")  # takes the episodes of a test as they are drawn

    @property
    def val_name(self) -> str:
        """Prefix of the logged scores of validation."""
        return "val" if self.selects else "train_val"

    @abstractmethod
    def draw(self, split: Split, index: int) -> Drawn:
        """Draws episode `index` of a split, a function of split, index and seed only.

        The result has no leading task axis.
        """

    @abstractmethod
    def check(self, setting: Setting, split: Split) -> None:
        """Raises ValueError when the split cannot fill episodes of another setting."""

    @abstractmethod
    def collate(self, drawn: list[Drawn]) -> Drawn:
        """Stacks episodes of one setting into a batch."""

    @abstractmethod
    def episodes(self, batch: Drawn, split: Split) -> Episode:
        """Converts a batch to tensors, on the device of the batch."""

    def observe(self, logits: Tensor | None, targets: Tensor) -> None:
        """Takes the predictions (T, Q, N) of the training batch in progress; ignores them here."""

    def skip(self) -> None:
        """Takes note that the training batch in progress was skipped; ignores it here."""

    @abstractmethod
    def tasks_of_evaluation(self, split: Split) -> int:
        """Returns the number of episodes in an evaluation batch."""

    @abstractmethod
    def data_sha256(self, split: Split) -> str:
        """Hashes the data of which the episodes of a split are drawn."""

    def episodes_sha256(self, split: Split, count: int) -> str:
        """Hashes the first `count` episodes of meta-val or meta-test with all their data."""
        return self._completed(self._new_digest(split), split, count)

    def tested_sha256(self, count: int) -> str:
        """Hashes the `count` episodes of the last test; draws those of other processes again."""
        fetched_more = self._tested.count > count  # by a prefetch
        return self.episodes_sha256("test", count) if fetched_more else self._completed(self._tested, "test", count)

    def _completed(self, digest: EpisodesDigest, split: Split, count: int) -> str:
        for index in range(digest.count, count):
            digest.add(index, self.draw(split, index))
        return digest.hexdigest()

    def _new_digest(self, split: Split) -> EpisodesDigest:
        return EpisodesDigest(partial(self.data_sha256, split))

    def train_dataloader(self) -> DataLoader[Drawn]:
        return DataLoader(_Stream(self), batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Drawn]]:
        return DataLoader(_Fixed(self, "val"), batch_size=None)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Drawn]]:
        self._tested = self._new_digest("test")
        return DataLoader(_Fixed(self, "test", self._tested), batch_size=None)

    def tested_by(self, setting: Setting, name: str) -> Self:
        """Copies the data module with other meta-test episodes, logged under `name`."""
        other = copy.copy(self)
        other.settings, other.test_name = {**self.settings, "test": setting}, name
        return other

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Episode | IndexedBatch:
        """Converts a batch to tensors; an evaluation batch also has the indices of its episodes."""
        assert self.trainer is not None
        if self.trainer.training:
            return self._converted(self.episodes(batch, "train"))
        indices, drawn = batch
        split: Split = "test" if self.trainer.testing else "val"
        return IndexedBatch(indices, self._converted(self.episodes(drawn, split)))

    def _converted(self, episodes: Episode) -> Episode:
        """Converts episodes to the precision of the trainer, e.g. float64.

        Lightning has converted only the draws.
        """
        assert self.trainer is not None
        return self.trainer.precision_plugin.convert_input(episodes)

    def shape(self, split: Split, index: int, smallest_class: int) -> Shape:
        """Returns the shape of an episode, which all episodes of its batch share."""
        tasks = self.tasks_per_batch if split == "train" else 1
        batch = index // tasks
        return self.settings[split].shape(smallest_class, seed=self.seed_of(split), split=split, batch=batch)

    def check_split(self, split: Split) -> None:
        """Raises ValueError for a split without a setting."""
        if split not in self.settings:
            names = " and ".join(self.settings)
            raise ValueError(f"this data module is for {names}: give it the setting and the data of {split} too")

    def seed_of(self, split: Split) -> int:
        return self.seed if split == "train" else EVALUATION_SEED

    def state_dict(self) -> dict[str, Any]:
        return {"episodes_done": self.episodes_done()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._episodes_before, self._batches_before = state_dict["episodes_done"], None

    def episodes_done(self) -> int:
        """Counts the episodes trained on, over all epochs, processes and resumptions."""
        if self.trainer is None:
            return self._episodes_before
        batches = batches_done(self.trainer)
        if self._batches_before is None:
            self._batches_before = batches
        since = batches - self._batches_before
        return self._episodes_before + since * self.tasks_per_batch * self.place[1]

    @property
    def place(self) -> tuple[int, int]:
        """Rank of this process and number of processes; without a trainer there is one."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_batches(self) -> Iterator[Drawn]:
        """Yields the training batches of this process without end, from the first unseen one.

        Lightning requests a new iterator in every epoch, and an epoch may end anywhere.
        """
        tasks, (rank, world) = self.tasks_per_batch, self.place
        for step in itertools.count(self.episodes_done() // (tasks * world)):
            first = (step * world + rank) * tasks
            yield self.collate([self.draw("train", index) for index in range(first, first + tasks)])

    def evaluation_indices(self, split: Split) -> range:
        """Returns the indices that this process evaluates; the processes partition all episodes."""
        self.check_split(split)
        rank, world = self.place
        return range(rank, self.settings[split].num_episodes, world)


class _Stream(IterableDataset[Drawn]):
    def __init__(self, data: AbstractEpisodes[Drawn]) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Drawn]:
        return self.data.train_batches()


class _Fixed(Dataset[tuple[Tensor, Drawn]], Generic[Drawn]):
    def __init__(self, data: AbstractEpisodes[Drawn], split: Split, digest: EpisodesDigest | None = None) -> None:
        self.data, self.split, self.digest = data, split, digest
        indices, tasks = data.evaluation_indices(split), data.tasks_of_evaluation(split)
        self.batches = [indices[first : first + tasks] for first in range(0, len(indices), tasks)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, batch: int) -> tuple[Tensor, Drawn]:
        indices = self.batches[batch]
        drawn = [self.data.draw(self.split, index) for index in indices]
        if self.digest is not None:
            for index, episode in zip(indices, drawn, strict=True):
                self.digest.add(index, episode)
        return torch.tensor(indices), self.data.collate(drawn)


def batches_done(trainer: pl.Trainer) -> int:
    """Counts the training batches of all epochs, also of those before a resumption."""
    batches: int = trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
    return batches
