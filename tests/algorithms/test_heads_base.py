"""Base-class statistics of heads: their images, the time of the fit, and the checkpoint."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import Command, Finished
from embedded_tasks import Flat, compare, mean_of_class, random_task
from torch.nn import functional as F

from metalearn.algorithms.parts.base_classes import BaseMean
from metalearn.algorithms.simple_shot import SimpleShot
from metalearn.data.bank import ClassBank
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.embedded import base_rows
from metalearn.episodes.setting import Setting
from metalearn.run.checks.rules import check_base_statistics
from metalearn.training.module import FewShotModule
from metalearn.types import SPLITS


def simple_shot(mean: torch.Tensor) -> SimpleShot:
    algorithm = SimpleShot(Flat(5), num_base_classes=4, batch_norm="running").double()
    algorithm.base.mean.copy_(mean)
    return algorithm


def test_simple_shot_against_a_loop() -> None:
    task, mean = random_task(), torch.arange(5.0)
    logits = compare(simple_shot(mean), task)
    unit = torch.stack([(z - mean) / (z - mean).square().sum().sqrt() for z in task.support_z])
    for query, found in zip(task.query_z, logits, strict=True):
        direction = (query - mean) / (query - mean).norm()
        for way in range(3):
            torch.testing.assert_close(found[way], -(direction - mean_of_class(unit, way)).square().sum())


def test_simple_shot_knows_no_origin_and_no_unit() -> None:
    task, mean = random_task(), torch.arange(5.0)
    expected = compare(simple_shot(mean), task)
    task.support_z, task.query_z = 3 * task.support_z + 7, 3 * task.query_z + 7
    torch.testing.assert_close(compare(simple_shot(3 * mean + 7), task), expected)


def test_base_rows_are_as_many_of_each_class_and_always_the_same() -> None:
    rows = [np.arange(30), 30 + np.arange(20), 50 + np.arange(50)]
    drawn = base_rows(rows, 40, seed=0)
    assert torch.equal(drawn, base_rows(rows, 40, seed=0))
    assert drawn.shape == (3, 20)  # size of the smallest class
    assert all(set(some.tolist()) <= set(of_class) for some, of_class in zip(drawn, rows, strict=True))
    assert all(len(some.unique()) == 20 for some in drawn)
    assert base_rows(rows, 10, seed=0).shape == (3, 10)


class Pixels(Flat):
    """Backbone that embeds an image as its bytes."""

    def forward(self, x: torch.Tensor, rows: object = None) -> torch.Tensor:
        return x.flatten(1)


def banks() -> dict[str, ClassBank]:
    """Builds splits with different images; statistics use 100 of each class."""
    generator = np.random.default_rng(0)
    images = {split: generator.integers(0, 256, (7, 150, 1, 2, 2), dtype=np.uint8) for split in SPLITS}
    return {
        split: ClassBank.from_classes(of_split, [f"{split}{i}" for i in range(7)]) for split, of_split in images.items()
    }


@pytest.mark.parametrize("batch_norm", ["running", "support"])
def test_the_mean_is_of_meta_train_alone_and_taken_where_there_is_none(batch_norm: str) -> None:
    settings = dict.fromkeys(SPLITS, Setting(5, 1, 3, num_episodes=4))
    data = EpisodicDataModule(banks(), settings, seed=3, tasks_per_batch=1)
    algorithm = SimpleShot(Pixels(4), num_base_classes=7, batch_norm=batch_norm)
    module = FewShotModule(algorithm, torch.optim.Adam)
    trainer = pl.Trainer(accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, logger=False)
    train = data.banks["train"]
    images = train.images[base_rows(train.rows, algorithm.base.per_class, seed=0).flatten()]
    expected = (images.double() / 255).mean(0).flatten().float()

    trainer.test(module, datamodule=data, verbose=False)
    torch.testing.assert_close(algorithm.base.mean, expected)
    algorithm.base.mean.fill_(5)
    trainer.test(module, datamodule=data, verbose=False)
    assert (algorithm.base.mean == 5).all()  # as from a checkpoint
    trainer.validate(module, datamodule=data, verbose=False)
    torch.testing.assert_close(algorithm.base.mean, expected)  # training may have changed the weights


def test_base_classes_are_asked_for_where_nothing_has_them() -> None:
    base, choices = BaseMean(4, 3), {"algorithm": "simple_shot", "dataset": "mnist"}
    check_base_statistics(None, ["test"], choices)
    check_base_statistics(base, ["train", "test"], choices)
    with pytest.raises(ValueError, match=r"^simple_shot needs .* mnist is for testing only: type test_dataset=mnist"):
        check_base_statistics(base, ["test"], choices)
    base.fit(F.one_hot(torch.arange(3)).float()[None])
    check_base_statistics(base, ["test"], choices)


@pytest.fixture(scope="module")
def finished(metalearn: Command) -> Finished:
    return metalearn("algorithm=simple_shot")


def test_a_checkpoint_holds_the_mean_with_which_it_was_chosen(finished: Finished, metalearn: Command) -> None:
    assert finished.code == 0, finished.text
    assert finished.checkpoint("best")["state_dict"]["algorithm.base.mean"].any()
    again = metalearn("mode=test", f"checkpoint={finished.folder / 'checkpoints/best.ckpt'}", small=False)
    assert again.code == 0, again.text
    assert again.test["accuracy"] == finished.test["accuracy"]
