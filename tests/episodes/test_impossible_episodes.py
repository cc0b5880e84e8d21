"""Episodes that a data set cannot fill, or that are trivial: one line with all remedies."""

import itertools
import json
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from metalearn.data.bank import ClassBank
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.functions import check_family
from metalearn.episodes.sampling import draw
from metalearn.episodes.setting import Setting, Shots, refuse
from metalearn.types import SPLITS

SETTING = Setting(way=4, shot=2, query=3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting(20, 1, 1), "way 20 exceeds the 12 classes of split 'val'"),
        (Setting(5, 4, 7), "shot 4 \\+ query 7 exceeds the 10 images of 'class0', the smallest class of split 'val'"),
        (Setting(5, [1, 9], 2), "shot 9 \\+ query 2 exceeds the 10 images of 'class0'"),
        (Setting(5, 0, 7), "episode.val.shot is 0; it must be at least 1"),
        (Setting([5, 20], 1, 1), "way 20 exceeds the 12 classes of split 'val'"),
        (Setting([1, 20], 1, 1), "at least 2 classes; way 20 exceeds .* 'val': type episode.val.way=\\[2,12\\]$"),
        (Setting(501, 9, 1, "meta_dataset"), "way 501 exceeds .* 500 support .*: type episode.val.way=12$"),
        (Setting(5, [0, 2], 1), "episode.val.shot is \\[0, 2\\]; it must be at least 1"),
        (Setting([7, 5], 1, 1), "episode.val.way is \\[7, 5\\]; a range has a smallest and a largest number"),
        (Setting(5.0, 1, 1), "episode.val.way is 5.0; give a whole number, or a range$"),  # type: ignore[arg-type]
        (Setting(5, 1, [1, 2]), "episode.val.query is \\[1, 2\\]; give a whole number$"),  # type: ignore[arg-type]
        (Setting([5], 1, 1), "episode.val.way is \\[5\\]; a range has"),
        (Setting(5, 1, 1, shots="Unequal"), "episode.val.shots is 'Unequal'; choose from equal, unequal, meta_dataset"),
        (Setting(5, 1, 1, queries="same"), "episode.val.queries is 'same'; choose from equal, unequal"),
        (Setting(5, 1, 1, sampling="Hard"), "episode.val.sampling is 'Hard'; choose from uniform, hard"),
        (Setting(5, 1, 1, sampling="hard"), "episode.val.sampling is 'hard', which is for training alone: leave it"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(bank: ClassBank, setting: Setting, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refuse(setting.faults(bank, "val"))


@pytest.mark.parametrize(
    "setting",
    [
        Setting(12, 1, 1),
        Setting([2, 12], 1, 1),
        Setting([3, 3], [2, 2], 1),
        Setting(5, 4, 6),
        Setting(5, [1, 4], 6, shots="unequal", queries="unequal"),
        Setting(5, 100, 9, shots="meta_dataset"),
    ],
)
def test_a_setting_that_just_fits_is_possible(bank: ClassBank, setting: Setting) -> None:
    assert not setting.faults(bank, "val")
    for batch in range(20):
        shape = setting.shape(bank.smallest_class, seed=0, split="val", batch=batch)
        draw(bank.rows, shape, seed=0, split="val", index=batch)


def test_what_to_type_makes_a_setting_possible() -> None:
    """Types the remedies of all settings, classes and images of a grid."""
    ranges: list[Any] = [1, 2, 4, [1, 2], [1, 4], [3, 4], [2, 9]]
    numbers = itertools.product(ranges, ranges, (1, 3), get_args(Shots), (1, 2, 3, 5), (1, 2, 3, 5))
    for way, shot, query, shots, num_classes, size in numbers:
        images = np.zeros((num_classes, size, 1, 1, 1), np.uint8)
        bank = ClassBank.from_classes(images, [str(number) for number in range(num_classes)])
        setting = Setting(way, shot, query, shots)
        faults = setting.faults(bank, "val")
        typed = [part.partition("=") for fault in faults for part in fault.remedy.split()]
        repaired = replace(setting, **{key.rpartition(".")[2]: json.loads(value) for key, _, value in typed})
        hopeless = num_classes < 2 or size < 2
        assert any(not fault.remedy for fault in faults) if hopeless else not repaired.faults(bank, "val")


def refused(banks: ClassBank | dict[str, ClassBank], settings: dict[str, Setting], **numbers: int) -> str:
    """Returns the one line of the error."""
    counts = {"train": 0, "val": numbers.pop("val", 1), "test": 1}
    settings = {split: replace(setting, num_episodes=counts[split]) for split, setting in settings.items()}
    banks = banks if isinstance(banks, dict) else dict.fromkeys(SPLITS, banks)
    with pytest.raises(ValueError, match=".") as caught:
        EpisodicDataModule(banks, settings, **({"seed": 0, "tasks_per_batch": 1} | numbers))
    return str(caught.value)


def test_all_that_is_impossible_is_said_at_once_with_what_to_type(bank: ClassBank) -> None:
    settings = {"train": Setting(20, 1, 5), "val": Setting(5, 1, 15), "test": Setting([5, 20], 10, 15)}
    smallest = "exceeds the 10 images of 'class0', the smallest class of split"
    assert refused(bank, settings, val=0, tasks_per_batch=0) == (
        "tasks_per_batch is 0; it must be at least 1; episode.val.num_episodes is 0; it must be at least 1; "
        f"way 20 exceeds the 12 classes of split 'train'; shot 1 + query 15 {smallest} 'val'; "
        f"way 20 exceeds the 12 classes of split 'test'; shot 10 + query 15 {smallest} 'test': "
        "type episode.train.way=12 episode.val.query=9 episode.test.way=[5,12] episode.test.shot=1 episode.test.query=9"
    )


def test_a_split_without_a_bank_or_a_setting_is_named(bank: ClassBank) -> None:
    assert refused({"train": bank}, dict.fromkeys(SPLITS, SETTING)) == (
        "banks has no data of val and test, but settings has it: give both, or leave out the setting"
    )
    data = EpisodicDataModule({"test": bank}, {"test": replace(SETTING, num_episodes=1)}, seed=0, tasks_per_batch=1)
    for ask in (lambda: data.draw("val", 0), data.val_dataloader, lambda: next(data.train_batches())):
        with pytest.raises(ValueError, match="^this data module is for test: give it the setting and the data of "):
            ask()


def test_an_episode_of_one_class_is_refused(bank: ClassBank) -> None:
    settings = {"train": Setting(1, 1, 5), "val": Setting([1, 4], 1, 5), "test": Setting(1, 1, 5)}
    assert refused(bank, settings) == (
        "episode.train.way is 1; a task needs at least 2 classes; "
        "episode.val.way is [1, 4]; a task needs at least 2 classes; "
        "episode.test.way is 1; a task needs at least 2 classes: "
        "type episode.train.way=2 episode.val.way=[2,4] episode.test.way=2"
    )


@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_that_are_all_the_same_are_refused(bank: ClassBank, value: int) -> None:
    banks = dict.fromkeys(SPLITS, bank)
    banks["val"] = ClassBank(torch.full_like(bank.images, value), bank.rows, bank.names)
    assert refused(banks, dict.fromkeys(SPLITS, SETTING)) == (
        f"all 120 images of split 'val' are the same (their first pixel is {value} of 255)"
    )


class Points:
    def __init__(self, x: object, y: object) -> None:
        self.x, self.y = x, y

    def points(self, rng: object, count: int) -> tuple[object, object]:
        return self.x, self.y


def test_points_that_are_none_are_refused() -> None:
    good = np.zeros((3, 1), np.float32)
    check_family(Points(np.zeros((3, 2, 5), np.float32), good))  # type: ignore[arg-type]
    for x, y, what in (
        (good[:2], good, "inputs float32 (2, 1)"),
        (good.astype(float), good, "inputs float64 (3, 1)"),
        (good, good[:, 0], "targets float32 (3,)"),
        (good, [1], "targets list "),
    ):
        with pytest.raises(ValueError, match=".") as caught:
            check_family(Points(x, y))  # type: ignore[arg-type]
        assert str(caught.value).startswith(
            f"Points.points gave {what} for a count of 3; it must give arrays of float32"
        )


@pytest.mark.parametrize("part", [0, 1])
def test_a_family_that_ignores_the_generator_is_refused(part: int) -> None:
    class Random:
        def points(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
            generators = [rng, rng]
            generators[part] = np.random.default_rng()
            x, y = (generator.random((count, 1), np.float32) for generator in generators)
            return x, y

    with pytest.raises(
        ValueError, match=r"Random.points gave other points for an equal generator, .*: take all random"
    ):
        check_family(Random())
