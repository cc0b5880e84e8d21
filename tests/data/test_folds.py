"""Cross-validation over all classes of a data set."""

import json

import numpy as np
import pytest
import torch
from conftest import Command

from metalearn.data.bank import ClassBank
from metalearn.data.folds import fold_of
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.setting import Setting


def banks() -> dict[str, ClassBank]:
    """Builds splits of 4, 3 and 5 classes of two images, whose pixel is the number of the class."""
    made, first = {}, 0
    for split, classes in (("train", 4), ("val", 3), ("test", 5)):
        numbers = np.arange(first, first + classes, dtype=np.uint8).repeat(2).reshape(classes, 2, 1, 1, 1)
        made[split] = ClassBank.from_classes(numbers, [str(first + c) for c in range(classes)])
        first += classes
    return made


def test_each_class_is_meta_test_once_and_keeps_its_images() -> None:
    folds = [fold_of(banks(), folds=5, fold=fold, seed=3) for fold in range(5)]
    assert sorted(name for fold in folds for name in fold["test"].names) == sorted(str(c) for c in range(12))
    for fold in folds:
        names = [name for bank in fold.values() for name in bank.names]
        assert len(set(names)) == len(names) == 12
        assert max(fold[split].num_classes for split in ("val", "test")) <= 3
        for bank in fold.values():
            pixels = [bank.images[torch.from_numpy(rows)].flatten().tolist() for rows in bank.rows]
            assert pixels == [[int(name)] * 2 for name in bank.names]


def test_the_seed_draws_the_folds() -> None:
    first, again, other = (fold_of(banks(), folds=4, fold=1, seed=seed)["test"].names for seed in (0, 0, 1))
    assert first == again != other


def test_the_rotations_of_a_class_stay_in_one_fold() -> None:
    turned = [f"{character}/rot{degrees:03d}" for character in "abcdef" for degrees in (0, 90, 180, 270)]
    bank = ClassBank.from_classes(np.zeros((24, 2, 1, 1, 1), dtype=np.uint8), turned)
    splits = fold_of({"train": bank}, folds=3, fold=0, seed=0)
    characters = {split: {name.partition("/")[0] for name in bank.names} for split, bank in splits.items()}
    assert sorted(map(len, characters.values())) == [2, 2, 2]
    assert sum(bank.num_classes for bank in splits.values()) == 24
    with pytest.raises(ValueError, match="3 to 6, the number of classes"):
        fold_of({"train": bank}, folds=7, fold=0, seed=0)


def test_a_batch_holds_at_most_the_images_of_the_training_folds() -> None:
    splits = fold_of(banks(), folds=4, fold=0, seed=0)  # 6 of the 12 classes are for training, with two images each
    settings = {"train": Setting(2, 1, 1)}
    with pytest.raises(ValueError, match="batch_size is 13; it must be 1 to 12"):
        EpisodicDataModule(splits, settings, seed=0, tasks_per_batch=1, batch_size=13)


@pytest.mark.parametrize(("folds", "fold", "message"), [(2, 0, "folds=2"), (13, 0, "3 to 12"), (5, 5, "0 to 4")])
def test_folds_that_cannot_be_are_refused(folds: int, fold: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fold_of(banks(), folds=folds, fold=fold, seed=0)


def test_a_run_is_tested_on_its_fold(metalearn: Command) -> None:
    finished = metalearn("evaluation=crossval", "evaluation.fold=2")
    assert finished.code == 0, finished.text
    result = json.loads((finished.folder / "result.json").read_text())
    assert (result["fold"], result["shared_classes"]) == (2, 0)
    further = metalearn(
        "evaluation=crossval", "evaluation.fold=0", f"pretrained={finished.folder}", "trainer.max_steps=1"
    )
    assert further.result["shared_classes"] > 0, further.text  # by the first of the two trainings
    tested = metalearn("mode=test", f"checkpoint={further.folder}/checkpoints/best.ckpt", small=False)
    assert tested.result["shared_classes"] == further.result["shared_classes"]
    refused = metalearn("evaluation=crossval", "evaluation.fold=5")
    assert refused.code == 2
    assert "evaluation.fold=5 must be 0 to 4" in refused.text


def test_splits_that_share_classes_are_not_joined() -> None:
    shared = banks() | {"test": banks()["val"]}
    with pytest.raises(ValueError, match="these splits share classes, such as '4', so they cannot be joined: leave"):
        fold_of(shared, folds=2, fold=0, seed=0)
