"""The data module of data sets with classes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn.data.bank import ClassBank
from metalearn.episodes.augmentation import Unchanged, augmentation_faults, augmented
from metalearn.episodes.embedded import CHUNK, Embed, EmbeddingTable, base_rows, file_of
from metalearn.episodes.fetching import fetch, gather
from metalearn.episodes.hard import HardClasses
from metalearn.episodes.loaders import EVALUATION_SEED, MOST_TASKS, AbstractEpisodes, batches_done, tasks_together
from metalearn.episodes.sampling import Draw, collate, draw, draw_images, draw_random
from metalearn.episodes.setting import Fault, Setting, check_data, refuse
from metalearn.types import Augmentation, Episode, Split

USES_ALL = 16
"""Mean draws of an image from which on an evaluation uses all: one of e^16 is left out."""


class EpisodicDataModule(AbstractEpisodes[Draw]):
    """Data module of episodes from one bank of images for each split.

    The host draws row numbers only. The images stay on the device as bytes and are gathered there.

    Args:
        banks: images of each split; a test alone needs only `test`.
        settings: setting of each split; a test alone needs only `test`.
        seed: seed of the training episodes.
        tasks_per_batch: number of tasks T in a training batch.
        batch_size: images of all base classes that replace each training episode; None: train on
            episodes.
        augmentation: augmentation of the training images.
        test_draws: listed meta-test episodes, for a protocol that lists them.
        embeddings: folder that keeps the evaluation embeddings of a frozen backbone.

    Examples:
        >>> import numpy as np
        >>> from metalearn import ClassBank, EpisodicDataModule, Setting
        >>> images = np.arange(20 * 64, dtype=np.uint8).reshape(5, 4, 1, 8, 8)
        >>> bank = ClassBank.from_classes(images, list("abcde"))
        >>> data = EpisodicDataModule(
        ...     {"test": bank}, {"test": Setting(way=5, shot=1, query=3, num_episodes=2)},
        ...     seed=0, tasks_per_batch=1,
        ... )
        >>> batch = data.episodes(data.collate([data.draw("test", 0)]), "test")
        >>> batch.support_x.shape, batch.query_y.shape  # (T, S, *X), (T, Q, N)
        (torch.Size([1, 5, 1, 8, 8]), torch.Size([1, 15, 5]))
    """

    def __init__(
        self,
        banks: Mapping[Split, ClassBank],
        settings: Mapping[Split, Setting],
        *,
        seed: int,
        tasks_per_batch: int,
        batch_size: int | None = None,
        augmentation: Augmentation | None = None,
        test_draws: Sequence[Draw] | None = None,
        embeddings: Path | None = None,
    ) -> None:
        check_data(banks, settings, "banks")
        faults = [fault for split in settings for fault in bank_faults(banks[split], split)]
        augmentation = augmentation or Unchanged()
        episodic = batch_size is None or "train" not in settings
        for split in list(settings)[:1]:
            faults += augmentation_faults(augmentation, banks[split].images, episodic=episodic)
        count = sum(map(len, banks["train"].rows)) if "train" in settings else 0
        if "train" in settings and batch_size is not None and not 1 <= batch_size <= count:
            faults.append(Fault(f"batch_size is {batch_size}; it must be 1 to {count}, all base images"))
        hard = "train" in settings and settings["train"].sampling == "hard"
        if hard and batch_size is not None:
            what = "episode.train.sampling=hard is for training on episodes, not on batches of all base classes"
            faults.append(Fault(what, "episode.train.sampling=uniform"))
        draws_episodes = {"train": batch_size is None, "val": True, "test": test_draws is None}
        for split, setting in settings.items():
            if draws_episodes[split]:
                faults += setting.faults(banks[split], split)
        super().__init__(settings, seed=seed, tasks_per_batch=tasks_per_batch, faults=faults)
        self.banks, self.batch_size, self.test_draws = banks, batch_size, test_draws
        self.embeddings = embeddings
        self.augmentation = augmentation
        self.hard = HardClasses(banks["train"].rows) if hard else None
        self._trained_on: Tensor | None = None  # query rows (T, Q) of the training batch in progress
        self._resident: dict[Split, Tensor] = {}
        self._embed: Embed | None = None
        self._weights: Callable[[], str] | None = None
        self._table: EmbeddingTable | None = None

    def setup(self, stage: str) -> None:
        """Begins each training with equally likely classes; a resumed one restores its own."""
        if stage == "fit" and self.hard is not None and self.trainer and not batches_done(self.trainer):
            self.hard = HardClasses(self.banks["train"].rows)

    def teardown(self, stage: str) -> None:
        """Serves images again, to loops without a trainer."""
        self.evaluate_embeddings(None)

    def evaluate_embeddings(self, embed: Embed | None, weights: Callable[[], str] | None = None) -> None:
        """Switches meta-val and meta-test episodes to embeddings (T, S, D); None: to images.

        `weights` hashes the network that embeds, as it is at the time; only a stored table asks.
        """
        self._embed, self._weights = embed, weights
        self.forget_embeddings()  # an evaluation that was interrupted has left its own

    def forget_embeddings(self) -> None:
        """Frees the embeddings, which take memory and are invalid for other weights."""
        self._table = None

    def embedded_base_classes(self, embed_together: Embed, per_class: int) -> Tensor:
        """Embeds K images of each class of meta-train, always the same ones: (C, K, D).

        K is at most `per_class`. Where evaluation uses images instead of embeddings,
        `embed_together` embeds them.
        """
        bank = self.banks["train"]
        rows = base_rows(bank.rows, per_class, seed=EVALUATION_SEED)  # (C, K)
        images = self._resident.get("train", bank.images)
        if self._embed is not None:
            z = self._embedding_table("train", images, rows.flatten(), self._embed)(rows)
        else:
            # Images alternate between classes, so that each normalised chunk holds many classes.
            chunks = rows.T.flatten().to(images.device).split(CHUNK)
            z = torch.cat([embed_together(images[chunk]) for chunk in chunks])  # (K C, D)
            z = z.unflatten(0, rows.T.shape).transpose(0, 1)
        bank.release_pages()
        return z

    def tasks_of_evaluation(self, split: Split) -> int:
        listed = split == "test" and self.test_draws is not None
        if not (listed or self.settings[split].has_one_shape):
            return 1
        if self._embed:
            return MOST_TASKS
        if self.evaluates_together:
            episode = self.draw(split, 0)
            rows = len(episode.support_rows) + len(episode.query_rows)
            return tasks_together(rows * self.banks[split].images[0].numel())
        return 1

    def check(self, setting: Setting, split: Split) -> None:
        refuse(fault._replace(remedy="") for fault in setting.faults(self.banks[split], split))

    def draw(self, split: Split, index: int) -> Draw:
        self.check_split(split)
        if split == "test" and self.test_draws is not None:
            return self.test_draws[index]
        bank, seed = self.banks[split], self.seed_of(split)
        if split == "train" and self.batch_size is not None:
            episode = draw_images(bank.rows, self.batch_size, seed=seed, split=split, index=index)
        else:
            shape = self.shape(split, index, bank.smallest_class)
            weights = self._probabilities(index) if split == "train" else None
            episode = draw(bank.rows, shape, seed=seed, split=split, index=index, weights=weights)
        if split != "train":
            return episode
        ways = torch.cat([episode.support_ways, episode.query_ways])
        random = draw_random(self.augmentation, ways, seed=seed, split=split, index=index)
        return episode._replace(random=random)

    def _probabilities(self, index: int) -> np.ndarray | None:
        """Returns the probabilities of the classes in a training episode; None: all are equal."""
        if self.hard is None:
            return None
        batch = self._episodes_of_a_batch
        return self.hard.probabilities(index // batch * batch)

    @property
    def _episodes_of_a_batch(self) -> int:
        """Number of episodes in a batch of all processes."""
        return self.tasks_per_batch * self.place[1]

    def observe(self, logits: Tensor | None, targets: Tensor) -> None:
        if self.hard is None:
            return
        if logits is None:
            raise ValueError("hard sampling needs logits, but the loss gave none: type episode.train.sampling=uniform")
        assert self._trained_on is not None
        assert self.trainer is not None
        counts = self.hard.count(self._trained_on, logits.argmax(-1) != targets.argmax(-1))  # (2, C)
        counts = self.trainer.strategy.reduce(counts, reduce_op="sum")  # over all processes
        self.hard.observe(counts, self._episodes_of_a_batch)

    def skip(self) -> None:
        if self.hard is not None:
            self.hard.observe(torch.zeros(2, len(self.hard.weights)), self._episodes_of_a_batch)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | ({"hard": self.hard.state_dict()} if self.hard else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if self.hard is not None:
            self.hard.trained = state_dict["episodes_done"]
            if "hard" in state_dict:  # absent where the training so far was uniform
                self.hard.load_state_dict(state_dict["hard"])

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
        if split == "train":
            self._trained_on = batch.query_rows
        episode = fetch(images, batch)
        self.banks[split].release_pages()
        return augmented(episode, self.augmentation, batch.random.view(torch.float32)) if split == "train" else episode

    def _embedding_table(self, split: Split, images: Tensor, rows: Tensor, embed: Embed) -> EmbeddingTable:
        file = None
        if self.embeddings is not None and self._weights is not None:
            file = file_of(self.embeddings, self._weights(), self.banks[split].sha256())
        return EmbeddingTable(embed, images, rows, file)

    def _rows_of_evaluation(self, split: Split) -> Tensor:
        """Returns the rows of all images that this process evaluates in the trainer's batches."""
        assert self.trainer is not None
        batches = self.trainer.num_test_batches if split == "test" else self.trainer.num_val_batches
        num_episodes = int(batches[0]) * self.tasks_of_evaluation(split)
        first, num_images = self.draw(split, 0), len(self.banks[split].images)
        if num_episodes * (len(first.support_rows) + len(first.query_rows)) >= USES_ALL * num_images:
            return torch.arange(num_images)
        draws = [self.draw(split, index) for index in self.evaluation_indices(split)[:num_episodes]]
        return torch.cat([rows for episode in draws for rows in (episode.support_rows, episode.query_rows)])

    def data_sha256(self, split: Split) -> str:
        return self.banks[split].sha256()


def bank_faults(bank: ClassBank, split: Split) -> list[Fault]:
    """Lists the faults of images or texts from which nothing can be learnt."""
    if not bank.is_uniform:
        return []
    value = int(bank.images.flatten()[0])
    first = f"token is {value}" if bank.is_text else f"pixel is {value} of 255"
    return [Fault(f"all {len(bank.images)} {bank.kind} of split '{split}' are the same (their first {first})")]
