"""The episodes of a data set of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from metalearn.data.bank import ClassBank
from metalearn.episodes.augmentation import Augmentation, Unchanged, augmented
from metalearn.episodes.embedded import CHUNK, Embed, EmbeddingTable, base_rows, file_of
from metalearn.episodes.loaders import EVALUATION_SEED, AbstractEpisodes
from metalearn.episodes.sampling import (
    Draw,
    Fault,
    Setting,
    collate,
    draw,
    draw_images,
    draw_random,
    episodes_sha256,
    fetch,
    gather,
    refuse,
)
from metalearn.types import Episode, Split

EMBEDDED_TASKS = 50
"""Episodes of a batch of evaluation that holds embeddings, which are small."""


class EpisodicDataModule(AbstractEpisodes[Draw]):
    """Batches of episodes from one bank for each split.

    Only rows are drawn on the host; images stay on the device as bytes and are gathered there. With a `batch_size`,
    training takes so many images of all base classes in the place of each episode. For testing alone, the bank and the
    setting of meta-test are enough. `test_draws` are the meta-test episodes where a protocol lists them. The folder
    `embeddings` keeps those of evaluation, where the weights of the backbone do not change.
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
        test_draws: Sequence[Draw] | None = None,
        embeddings: Path | None = None,
    ) -> None:
        faults = [fault for split in settings for fault in bank_faults(banks[split], split)]
        if "train" in settings and batch_size is not None and not 1 <= batch_size <= len(banks["train"].images):
            count = len(banks["train"].images)
            faults.append(Fault(f"batch_size is {batch_size}; it must be 1 to {count}, all base images"))
        for split, setting in settings.items():
            listed = batch_size if split == "train" else test_draws if split == "test" else None
            if listed is None:
                faults += setting.faults(banks[split], split)
        super().__init__(settings, seed=seed, tasks_per_batch=tasks_per_batch, num_episodes=num_episodes, faults=faults)
        self.banks, self.batch_size, self.test_draws = banks, batch_size, test_draws
        self.embeddings = embeddings
        self.augmentation = augmentation or Unchanged()  # of the training images
        self._resident: dict[Split, Tensor] = {}
        self._embed: Embed | None = None
        self._weights = ""
        self._table: EmbeddingTable | None = None

    def evaluate_embeddings(self, embed: Embed | None, weights: str = "") -> None:
        """From now on episodes of meta-val and meta-test hold embeddings (T, S, D); None: images.

        `weights` is a hash of the network that embeds.
        """
        self._embed, self._weights = embed, weights

    def forget_embeddings(self) -> None:
        """Let go of the embeddings that were made: they take memory, and other weights make others."""
        self._table = None

    def embedded_base_classes(self, embed_together: Embed, per_class: int) -> Tensor:
        """Embeddings of K images of each class of meta-train, at most so many and always the same: (C, K, D).

        By `embed_together`, where evaluation has images and not embeddings.
        """
        bank = self.banks["train"]
        rows = base_rows(bank.rows, per_class, seed=EVALUATION_SEED)  # (C, K)
        images = self._resident.get("train", bank.images)
        if self._embed is not None:
            z = self._embedding_table("train", images, rows.flatten(), self._embed)(rows)
        else:
            # One image of each class after the other: those that are normalised together are of many classes.
            chunks = rows.T.flatten().to(images.device).split(CHUNK)
            z = torch.cat([embed_together(images[chunk]) for chunk in chunks])  # (K C, D)
            z = z.unflatten(0, rows.T.shape).transpose(0, 1)
        bank.release_pages()
        return z

    def tasks_of_evaluation(self, split: Split) -> int:
        listed = split == "test" and self.test_draws is not None
        one_shape = listed or self.settings[split].has_one_shape
        return EMBEDDED_TASKS if self._embed and one_shape else 1

    def check(self, setting: Setting, split: Split) -> None:
        refuse(fault._replace(remedy="") for fault in setting.faults(self.banks[split], split))

    def draw(self, split: Split, index: int) -> Draw:
        if split == "test" and self.test_draws is not None:
            return self.test_draws[index]
        bank, seed = self.banks[split], self.seed_of(split)
        if split == "train" and self.batch_size is not None:
            one = draw_images(bank.rows, self.batch_size, seed=seed, split=split, index=index)
        else:
            shape = self.shape(split, index, bank.smallest_class)
            one = draw(bank.rows, shape, seed=seed, split=split, index=index)
        if split != "train":
            return one
        num_rows = len(one.support_rows) + len(one.query_rows)
        random = draw_random(self.augmentation.num_random, num_rows, seed=seed, split=split, index=index)
        return one._replace(random=random)

    def collate(self, drawn: list[Draw]) -> Draw:
        return collate(drawn)

    def episodes(self, batch: Draw, split: Split) -> Episode:
        device = batch.query_rows.device
        images = self._resident.get(split)
        if images is None or images.device != device:
            images = self._resident[split] = self.banks[split].images.to(device)
        if split != "train" and self._embed is not None:
            if self._table is None:
                self._table = self._embedding_table(split, images, self._rows_of_evaluation(split), self._embed)
                self.banks[split].release_pages()
            return gather(self._table, batch)
        episode = fetch(images, batch)
        self.banks[split].release_pages()
        return augmented(episode, self.augmentation, batch.random.view(torch.float32)) if split == "train" else episode

    def _embedding_table(self, split: Split, images: Tensor, rows: Tensor, embed: Embed) -> EmbeddingTable:
        file = file_of(self.embeddings, self._weights, self.banks[split].sha256()) if self.embeddings else None
        return EmbeddingTable(embed, images, rows, file)

    def _rows_of_evaluation(self, split: Split) -> Tensor:
        """The rows of all images that this process evaluates: those of the batches that the trainer will take."""
        assert self.trainer is not None
        batches = self.trainer.num_test_batches if split == "test" else self.trainer.num_val_batches
        num_episodes = int(batches[0]) * self.tasks_of_evaluation(split)
        draws = [self.draw(split, index) for index in self.evaluation_indices(split)[:num_episodes]]
        return torch.cat([rows for one in draws for rows in (one.support_rows, one.query_rows)])

    def test_episodes_sha256(self, count: int) -> str:
        return episodes_sha256(self.banks["test"], (self.draw("test", index) for index in range(count)))


def bank_faults(bank: ClassBank, split: Split) -> list[Fault]:
    """Images that nothing can be learnt from."""
    if not bank.is_uniform:
        return []
    value = int(bank.images.flatten()[0])
    return [
        Fault(f"all {len(bank.images)} images of split '{split}' are the same (their first pixel is {value} of 255)")
    ]
