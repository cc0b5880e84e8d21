"""The episodic dataloaders of a run, and the cursor from which a resumed run goes on."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from metalearn.data.bank import ClassBank
from metalearn.episodes.augmentation import Augmentation, Unchanged, augmented
from metalearn.episodes.sampling import (
    Draw,
    Setting,
    collate,
    draw,
    draw_images,
    draw_random,
    episodes_sha256,
    fetch,
)
from metalearn.types import Episode, Split

EVALUATION_SEED = 0
"""Seed of all meta-val and meta-test episodes, so that every run of every algorithm is scored on the same ones."""


class EpisodicDataModule(pl.LightningDataModule):
    """Batches of episodes from one bank for each split.

    Only rows are drawn on the host; images stay on the device as bytes and are gathered there, so that there is
    nothing for worker processes to do. In training, step b on process r of R draws episodes (b * R + r) * T onwards,
    T being `tasks_per_batch`; evaluation takes one episode at a time, process r those of index r, r + R, r + 2R, ...
    With a `batch_size`, training takes so many images of all base classes in the place of each episode. For testing
    alone, the bank and the setting of meta-test are enough.
    """

    def __init__(
        self,
        banks: Mapping[Split, ClassBank],
        settings: Mapping[Split, Setting],
        *,
        seed: int,
        tasks_per_batch: int,
        num_episodes: Mapping[Split, int],
        batch_size: int | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must not be negative")
        counts = {f"episode.{split}.num_episodes": count for split, count in num_episodes.items()}
        for name, count in {"tasks_per_batch": tasks_per_batch, **counts}.items():
            if count < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        for split, setting in settings.items():
            if split != "train" or batch_size is None:
                setting.check(banks[split], split)
        if "train" in settings and batch_size is not None and not 1 <= batch_size <= len(banks["train"].images):
            raise ValueError(
                f"batch_size is {batch_size}; it must be 1 to {len(banks['train'].images)}, all base images"
            )
        self.banks, self.settings, self.num_episodes = banks, settings, num_episodes
        self.seed, self.tasks_per_batch, self.batch_size = seed, tasks_per_batch, batch_size
        self.augmentation = augmentation or Unchanged()  # of the training images
        self._episodes_done = 0
        self._resident: dict[Split, Tensor] = {}

    def train_dataloader(self) -> DataLoader[Draw]:
        return DataLoader(_Stream(self), batch_size=None)

    def val_dataloader(self) -> DataLoader[Draw]:
        return DataLoader(_Fixed(self, "val"), batch_size=None)

    def test_dataloader(self) -> DataLoader[Draw]:
        return DataLoader(_Fixed(self, "test"), batch_size=None)

    def draw(self, split: Split, index: int) -> Draw:
        """Episode `index` of a split, without the leading task axis."""
        rows = self.banks[split].rows
        if split != "train":
            return draw(rows, self._setting(split, index), seed=EVALUATION_SEED, split=split, index=index)
        if self.batch_size is not None:
            one = draw_images(rows, self.batch_size, seed=self.seed, split=split, index=index)
        else:
            one = draw(rows, self._setting(split, index), seed=self.seed, split=split, index=index)
        num_rows = len(one.support_rows) + len(one.query_rows)
        random = draw_random(self.augmentation.num_random, num_rows, seed=self.seed, split=split, index=index)
        return one._replace(random=random)

    def _setting(self, split: Split, index: int) -> Setting:
        """The setting of an episode, which is that of its batch."""
        seed, tasks = (self.seed, self.tasks_per_batch) if split == "train" else (EVALUATION_SEED, 1)
        return self.settings[split].of_batch(seed=seed, split=split, batch=index // tasks)

    def test_episodes_sha256(self, count: int) -> str:
        """Hash of the first `count` meta-test episodes."""
        return episodes_sha256(self.banks["test"], (self.draw("test", index) for index in range(count)))

    def on_after_batch_transfer(self, batch: Draw, dataloader_idx: int) -> Episode:
        assert self.trainer is not None
        split: Split = "test" if self.trainer.testing else "train" if self.trainer.training else "val"
        device = batch.query_rows.device
        images = self._resident.get(split)
        if images is None or images.device != device:
            images = self._resident[split] = self.banks[split].images.to(device)
        episode = fetch(images, batch)
        self.banks[split].release_pages()
        if split == "train":
            episode = augmented(episode, self.augmentation, batch.random)
        return self.trainer.precision_plugin.convert_input(episode)  # to float64, say: Lightning saw rows only

    def state_dict(self) -> dict[str, Any]:
        assert self.trainer is not None
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
        return {"episodes_done": batches * self.tasks_per_batch * self.trainer.world_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._episodes_done = state_dict["episodes_done"]

    def train_batches(self) -> Iterator[Draw]:
        """The training batches of this process, endlessly, from the cursor on."""
        assert self.trainer is not None
        tasks, world, rank = self.tasks_per_batch, self.trainer.world_size, self.trainer.global_rank
        for step in itertools.count(self._episodes_done // (tasks * world)):
            first = (step * world + rank) * tasks
            yield collate(self.draw("train", index) for index in range(first, first + tasks))

    def evaluation_indices(self, split: Split) -> range:
        """The episodes that this process evaluates: every one is some process's, none is two's."""
        assert self.trainer is not None
        return range(self.trainer.global_rank, self.num_episodes[split], self.trainer.world_size)


class _Stream(IterableDataset[Draw]):
    def __init__(self, data: EpisodicDataModule) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Draw]:
        return self.data.train_batches()


class _Fixed(Dataset[Draw]):
    def __init__(self, data: EpisodicDataModule, split: Split) -> None:
        self.data, self.split, self.indices = data, split, data.evaluation_indices(split)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Draw:
        return collate([self.data.draw(self.split, self.indices[position])])
