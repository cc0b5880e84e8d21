"""The hash of test episodes is of those that were scored, each drawn once."""

import copy
import pickle

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from metalearn import MLP, ClassBank, EpisodicDataModule, Prototypical, Setting
from metalearn.episodes import datamodule
from metalearn.episodes.functions import FunctionDataModule
from metalearn.training.evaluation import evaluate
from metalearn.training.module import FewShotModule

EPISODES = 12


def data_of(bank: ClassBank, *, way: int = 3, episodes: int = EPISODES) -> EpisodicDataModule:
    setting = Setting(way, 2, 4, num_episodes=episodes)
    return EpisodicDataModule({"test": bank}, {"test": setting}, seed=0, tasks_per_batch=1)


def hash_after_test(data: EpisodicDataModule, bank: ClassBank) -> str:
    module = FewShotModule(Prototypical(MLP(bank.images.shape[1:]), batch_norm="running"), torch.optim.Adam)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return evaluate(pl.Trainer(accelerator="cpu", **quiet), module, data)[0]["episodes_sha256"]


def test_it_is_that_of_the_same_episodes_without_a_test(bank: ClassBank) -> None:
    expected = data_of(bank).episodes_sha256("test", EPISODES)
    data = data_of(bank)
    assert hash_after_test(data, bank) == expected
    assert hash_after_test(data, bank) == expected  # a second test
    assert data.episodes_sha256("test", 3) == data_of(bank).episodes_sha256("test", 3) != expected


def test_it_is_that_of_the_setting(bank: ClassBank) -> None:
    data = data_of(bank)
    hash_after_test(data, bank)
    for way in (2, 4):
        other = data.tested_by(Setting(way, 2, 4, num_episodes=EPISODES), f"{way}w2s")
        assert hash_after_test(other, bank) == data_of(bank, way=way).episodes_sha256("test", EPISODES)


def test_it_is_that_of_the_episodes_of_now(bank: ClassBank) -> None:
    data = data_of(bank)
    hash_after_test(data, bank)
    data.settings["test"] = Setting(2, 2, 4, num_episodes=EPISODES)
    expected = data_of(bank, way=2).episodes_sha256("test", EPISODES)
    assert data.episodes_sha256("test", EPISODES) == expected
    assert hash_after_test(data, bank) == expected


def test_copies_have_it_too(bank: ClassBank) -> None:
    """Copies the data module before and after a test, as Lightning's ddp_spawn does."""
    data = data_of(bank)
    expected = data.episodes_sha256("test", EPISODES)
    for _ in range(2):
        for other in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
            assert hash_after_test(other, bank) == expected
        assert hash_after_test(data, bank) == expected


def test_it_tells_episodes_and_pixels_apart(bank: ClassBank) -> None:
    reference = data_of(bank).episodes_sha256("test", 3)
    images = bank.images.clone()
    images[0, 0, 0, 0] += 1
    others = [
        data_of(bank).episodes_sha256("test", 2),
        data_of(bank, way=4).episodes_sha256("test", 3),
        data_of(ClassBank(images, bank.rows, bank.names)).episodes_sha256("test", 3),
    ]
    assert len({reference, *others}) == 4


class Products:
    """Products of two numbers, whose points are in any order of memory."""

    def __init__(self, order: str) -> None:
        self.order = order

    def points(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.random((count, 2), dtype=np.float32)
        return np.asarray(x, order=self.order), x.prod(1, keepdims=True)


def test_it_is_that_of_the_points_and_not_of_their_memory() -> None:
    setting = {"test": Setting(1, 5, 10, num_episodes=2)}
    hashes = [
        FunctionDataModule({"test": Products(order)}, setting, seed=0, tasks_per_batch=1).episodes_sha256("test", 2)
        for order in ("C", "F")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("uses_all", [0, 10**6])
def test_a_test_of_many_episodes_draws_each_once(
    uses_all: int, bank: ClassBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "USES_ALL", uses_all)
    data, indices, draw = data_of(bank), [], EpisodicDataModule.draw
    monkeypatch.setattr(data, "draw", lambda split, index: indices.append(index) or draw(data, split, index))
    hash_after_test(data, bank)
    once = list(range(EPISODES))
    # Beside the test, the first one shows how many images an episode has, or all show which.
    assert sorted(indices) == sorted([0, *once] if uses_all == 0 else [0, *once, *once])
