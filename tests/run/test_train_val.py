"""Trainings on meta-train and meta-val together, in which nothing selects."""

import csv
import math
import re
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from conftest import Finished
from origins import keeper
from own_images import write

from metalearn.report.comparing.protocol import protocol
from metalearn.run.directory.result import Result

BOTH = "train_split=train_val"


@pytest.fixture(scope="module")
def alone(metalearn) -> Finished:
    finished = metalearn("algorithm=baseline")
    assert finished.code == 0, finished.text
    return finished


@pytest.fixture(scope="module")
def both(metalearn) -> Finished:
    finished = metalearn("algorithm=baseline", BOTH)
    assert finished.code == 0, finished.text
    return finished


def test_the_classes_of_meta_val_are_trained(alone: Finished, both: Finished) -> None:
    small, large = (set(run.checkpoint()["metalearn"]["classes"]) for run in (alone, both))
    assert small < large
    assert len(large) == both.checkpoint()["metalearn"]["num_base_classes"]
    assert both.test["episodes_sha256"] == alone.test["episodes_sha256"]
    assert both.result["shared_classes"] == 0


def test_the_last_weights_are_tested_and_no_score_is_of_meta_val(both: Finished) -> None:
    result = both.result
    assert (result["train_split"], result["val"], result["temperature"]) == ("train_val", None, None)
    assert result["best_step"] == result["steps"] == 10
    best, last = (both.checkpoint(name) for name in ("best", "last"))
    assert all(torch.equal(weight, last["state_dict"][name]) for name, weight in best["state_dict"].items())
    assert best.get("val") is best.get("temperature") is None
    with (both.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["train_val/accuracy"]] == ["4", "8", "10"]
    assert not any(row.get("val/accuracy") for row in rows)
    assert re.search(r"trained on +│.*on meta-train and meta-val", re.sub(r"\s*│\n│\s+│\s*", " ", both.text))
    assert "meta-val accuracy" not in both.text


@pytest.mark.parametrize(("selects", "step"), [(True, 2), (False, 3)])
def test_a_falling_score_selects_only_where_meta_val_does(tmp_path: Path, selects: bool, step: int) -> None:
    kept, prefix = keeper(tmp_path, selects=selects), "val" if selects else "train_val"
    for step_done, accuracy in enumerate([0.5, 0.9, 0.7], start=1):
        trainer = MagicMock(sanity_checking=False, global_step=step_done)
        trainer.callback_metrics = {f"{prefix}/accuracy": accuracy, f"{prefix}/loss": 1.0}
        kept.on_validation_end(trainer, MagicMock())
    assert kept.best_step == step


def test_the_last_weights_need_a_finite_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = keeper(tmp_path, selects=False)
    for step, loss in enumerate([1.0, math.inf], start=1):
        trainer = MagicMock(sanity_checking=False, global_step=step)
        trainer.callback_metrics = {"train_val/accuracy": 0.5, "train_val/loss": loss}
        kept.on_validation_end(trainer, MagicMock())
    assert kept.best_step == 1
    assert "the loss on classes of the training is inf" in caplog.text


def test_a_test_of_the_weights_knows_their_training(metalearn, both: Finished) -> None:
    tested = metalearn("mode=test", f"checkpoint={both.folder}", small=False)
    assert tested.code == 0, tested.text
    assert (tested.test, tested.result["train_split"]) == (both.test, "train_val")
    other = metalearn("mode=test", f"checkpoint={both.folder}", "train_split=null", small=False)
    assert (other.code, "train_split" in other.text) == (2, True)


def test_a_resumed_training_equals_an_uninterrupted_one(metalearn, both: Finished) -> None:
    half = metalearn("algorithm=baseline", BOTH, "trainer.max_steps=5")
    whole = metalearn(f"resume={half.folder}", "trainer.max_steps=10", small=False)
    assert whole.code == 0, whole.text
    assert half.test == both.test


def test_a_run_with_a_selection_is_not_continued_without_one(metalearn) -> None:
    alone = metalearn("trainer.max_steps=4")
    refused = metalearn(f"resume={alone.folder}", BOTH, "trainer.max_steps=12", small=False)
    assert (refused.code, "train_split" in refused.text) == (2, True), refused.text


def test_weights_that_have_seen_meta_val_cannot_be_selected_on_it(metalearn, alone: Finished, both: Finished) -> None:
    refused = metalearn(f"pretrained={both.folder}")
    assert refused.code == 2
    assert "was trained on 8 meta-val classes (train_split), so meta-val cannot select" in refused.text
    again = metalearn(f"pretrained={both.folder}", BOTH, "trainer.max_steps=1")
    assert again.code == 0, again.text
    elsewhere = metalearn(f"pretrained={alone.folder}", "trainer.max_steps=1")
    assert elsewhere.code == 0, elsewhere.text
    assert "meta-val classes have names" not in elsewhere.text


def test_a_test_of_the_backbone_alone_joins_nothing(metalearn, both: Finished, tmp_path: Path) -> None:
    root = write(tmp_path / "own")
    folder = ["dataset=folder", f"dataset.root={root}", "dataset.split=[0,0,1]", "dataset.input_shape=[1,28,28]"]
    episodes = ["episode.test.way=3", "episode.test.query=2", "episode.test.num_episodes=3"]
    of_backbone = ["mode=test", f"pretrained={both.folder}", "algorithm=prototypical", f"paths.cache={tmp_path}"]
    tested = metalearn(*of_backbone, *folder, *episodes, small=False)
    assert tested.code == 0, tested.text
    assert tested.result["train_split"] is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mode=test"], "is for a training: leave it out of a test"),
        (["callbacks=early_stopping"], "callbacks.early_stopping needs val/loss"),
        (["callbacks=save_top_k"], "callbacks.save_top_k needs val/loss"),
        (["scheduler=plateau"], "scheduler needs val/loss"),
        (["algorithm=finetune", "algorithm.lr=[0.0,0.1]"], "finetune chooses from 2 settings on meta-val"),
    ],
)
def test_settings_that_need_meta_val_are_refused(metalearn, overrides: list[str], message: str) -> None:
    refused = metalearn(BOTH, *overrides)
    assert refused.code == 2
    assert message in refused.text


def test_a_regression_has_no_classes_to_join(metalearn) -> None:
    refused = metalearn(BOTH, "dataset=sinusoid", "algorithm=maml", small=False)
    assert (refused.code, "which a regression has not" in refused.text) == (2, True)


def test_the_report_tells_the_classes_of_a_training(alone: Finished, both: Finished) -> None:
    ours, theirs = (protocol(Result.from_json(run.folder / "result.json"), None).training for run in (both, alone))
    assert "meta-train and meta-val" in ours
    assert "meta-val" not in theirs


def test_a_search_needs_meta_val(metalearn) -> None:
    refused = metalearn(
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", BOTH, "optimizer.lr=tag(log,interval(1e-4,1e-2))"
    )
    assert (refused.code, "on which a search chooses" in refused.text) == (2, True), refused.text
