"""Hard episodes: weights of classes by hand, their draws, and what a resumed training draws."""

import json
import math

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from metalearn import MLP, FewShotModule, Prototypical
from metalearn.data.bank import ClassBank
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.functions import FunctionDataModule
from metalearn.episodes.hard import HardClasses
from metalearn.episodes.setting import Sampling, Setting
from metalearn.run.checks.rules import check_sampling
from metalearn.types import SPLITS

ROWS = [np.arange(0, 4), np.arange(4, 8), np.arange(8, 12)]
ALL_WRONG = torch.tensor([[4, 0, 0], [4, 4, 0]])  # class 0 has four errors, class 1 none, class 2 no query


def data(bank: ClassBank, sampling: Sampling, **more: int) -> EpisodicDataModule:
    setting = Setting(3, 1, 2, num_episodes=1)
    settings = {"train": Setting(3, 1, 2, sampling=sampling), "val": setting, "test": setting}
    return EpisodicDataModule(dict.fromkeys(SPLITS, bank), settings, seed=0, tasks_per_batch=2, **more)


def test_answers_are_counted_for_their_class() -> None:
    rows = torch.tensor([[0, 5, 9], [3, 4, 5]])
    wrong = torch.tensor([[True, False, True], [False, False, True]])
    assert HardClasses(ROWS).count(rows, wrong).tolist() == [[1, 1, 1], [2, 3, 1]]


def test_a_weight_grows_with_errors_and_decays_without() -> None:
    hard = HardClasses(ROWS)
    for _ in range(2):
        hard.observe(ALL_WRONG, 1)
    np.testing.assert_allclose(hard.weights, [math.exp(1.5), 1, 1])  # (e ** 1) ** 0.5 * e
    for _ in range(60):
        hard.observe(ALL_WRONG, 1)
    np.testing.assert_allclose(hard.weights, [math.exp(2), 1, 1])  # the limit, α / (1 - τ)
    hard.observe(torch.tensor([[0, 0, 0], [4, 0, 0]]), 1)
    np.testing.assert_allclose(hard.weights, [math.e, 1, 1])


def test_a_batch_sees_all_earlier_ones_but_the_last() -> None:
    hard, seen = HardClasses(ROWS), []
    for batch in range(4):  # each has two episodes; the next one is requested before this one is trained
        seen.append(hard.probabilities(2 * batch))
        resumed = HardClasses(ROWS)
        resumed.trained = hard.trained
        resumed.load_state_dict(json.loads(json.dumps(hard.state_dict())))
        np.testing.assert_array_equal(resumed.probabilities(2 * batch), seen[-1])
        following = hard.probabilities(2 * batch + 2)
        hard.observe(ALL_WRONG, 2)
        np.testing.assert_array_equal(hard.probabilities(2 * batch + 2), following)
    assert seen[0][0] == seen[1][0] == pytest.approx(1 / 3)
    assert seen[2][0] == pytest.approx(math.e / (math.e + 2))
    assert seen[3][0] > seen[2][0]


def test_confused_classes_are_drawn_more_often(bank: ClassBank) -> None:
    hard = data(bank, "hard")
    assert hard.hard is not None
    answers = torch.full((bank.num_classes,), 5)
    wrong = torch.where(torch.arange(bank.num_classes) < 3, 5, 0)
    for _ in range(10):
        hard.hard.observe(torch.stack([wrong, answers]), 2)
    of_three = {
        name: sum(
            int(np.isin(module.draw("train", index).support_rows, np.concatenate(bank.rows[:3])).sum())
            for index in range(1000, 1200)
        )
        for name, module in (("hard", hard), ("uniform", data(bank, "uniform")))
    }
    assert of_three["hard"] > 1.3 * of_three["uniform"]


def test_a_data_module_serves_a_second_training_as_the_first(bank: ClassBank) -> None:
    module, losses = data(bank, "hard"), []
    for _ in range(2):
        torch.manual_seed(0)
        algorithm = Prototypical(MLP(bank.images.shape[1:], hidden=[4]), batch_norm="running")
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        trainer = pl.Trainer(accelerator="cpu", max_steps=6, val_check_interval=6, enable_checkpointing=False, **quiet)
        trainer.fit(FewShotModule(algorithm, torch.optim.Adam), datamodule=module)
        losses.append(trainer.callback_metrics["train/loss"])
    assert losses[0] == losses[1]


def test_impossible_settings_are_refused(bank: ClassBank) -> None:
    with pytest.raises(
        ValueError, match="sampling=hard is for training on episodes, .* type episode.train.sampling=uniform$"
    ):
        data(bank, "hard", batch_size=8)
    with pytest.raises(ValueError, match="reptile answers no queries in training, so use sampling=uniform"):
        check_sampling({"train": {"sampling": "hard"}}, False, "reptile")
    settings = {"train": Setting(1, 5, 5, sampling="hard")}
    with pytest.raises(ValueError, match="sampling=hard is for classes of images"):
        FunctionDataModule({"train": object()}, settings, seed=0, tasks_per_batch=1)


def test_a_skipped_batch_teaches_no_weight(bank: ClassBank) -> None:
    module = data(bank, "hard")
    assert module.hard is not None
    module.hard.observe(torch.tensor([[1] * len(bank.rows)] * 2), 2)
    before = module.hard.weights
    module.skip()
    np.testing.assert_array_equal(module.hard.weights, before)
    assert module.hard.trained == 4
    with pytest.raises(ValueError, match="needs logits, but the loss gave none: type episode.train.sampling=uniform"):
        module.observe(None, torch.zeros(2, 6, 3))
