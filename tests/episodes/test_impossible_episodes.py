"""Episodes that a data set cannot fill, or that are trivial: one line with all remedies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metalearn.data.bank import ClassBank
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.functions import check_family
from metalearn.episodes.setting import Setting, refuse
from metalearn.types import SPLITS

SETTING = Setting(way=4, shot=2, query=3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting(20, 1, 1), "way 20 exceeds the 12 classes of split 'val'"),
        (Setting(5, 4, 7), "shot 4 \\+ query 7 exceeds the 10 images of 'class0', the smallest class of split 'val'"),
        (Setting(5, 0, 7), "episode.val.shot is 0; it must be at least 1"),
        (Setting([5, 20], 1, 1), "way 20 exceeds the 12 classes of split 'val'"),
        (Setting(5, [0, 2], 1), "episode.val.shot is \\[0, 2\\]; it must be at least 1"),
        (Setting([7, 5], 1, 1), "episode.val.way is \\[7, 5\\]; a range has a smallest and a largest number"),
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


def test_an_episode_of_one_class_is_refused(bank: ClassBank) -> None:
    settings = {"train": Setting(1, 1, 5), "val": Setting([1, 4], 1, 5), "test": Setting(1, 1, 5)}
    assert refused(bank, settings) == (
        "episode.train.way is 1; a task needs at least 2 classes; "
        "episode.val.way is [1, 4]; a task needs at least 2 classes; "
        "episode.test.way is 1; a task needs at least 2 classes: "
        "type episode.train.way=2 episode.val.way=[2,4] episode.test.way=2"
    )


def test_two_faults_of_a_way_have_one_remedy(bank: ClassBank) -> None:
    with pytest.raises(ValueError, match=r"classes of split 'val': type episode.val.way=\[2,12\]$"):
        refuse(Setting([1, 20], 1, 1).faults(bank, "val"))
    with pytest.raises(ValueError, match=r"at most: type episode.val.way=12$"):
        refuse(Setting(501, 100, 1, shots="meta_dataset").faults(bank, "val"))


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
