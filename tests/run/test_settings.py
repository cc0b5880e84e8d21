"""The hash of a config: equal for runs of one mean, and different for other trainings."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, Command, Finished, composed
from origins import facts

from metalearn.run.directory.checkpoint_file import read_checkpoint
from metalearn.run.directory.origin import Origin
from metalearn.run.settings import (
    composed_settings,
    is_of_another_predictor,
    overrides_of_a_test,
    sha256,
    trained_with,
)
from metalearn.run.settings import (
    tested as settings_of_a_test,
)


@pytest.fixture(scope="module")
def trained(metalearn: Command) -> Finished:
    return metalearn()


def hash_of(*overrides: str) -> str:
    return sha256(composed_settings(composed(*overrides)), class_split=None)


@pytest.mark.parametrize(
    "overrides",
    [
        ("seed=1",),
        ("logger=wandb",),
        ("trainer=gpu",),
        ("trainer=ddp", "trainer.devices=4", "tasks_per_batch=2"),
        ("callbacks=save_top_k",),
        ("callbacks.progress.seconds_between_lines=1",),
        ("paths.data=elsewhere", "paths.outputs=there", "dataset.cache=here"),
        ("evaluation.settings=[5w5s]",),
        ("evaluation=open_set",),
        ("mode=test", "checkpoint=best.ckpt", "resume=run"),
        ("published={accuracy: 0.9}",),
        ("+trainer.profiler=null",),
    ],
)
def test_runs_of_one_mean_have_one_hash(overrides: tuple[str, ...]) -> None:
    assert hash_of(*overrides) == hash_of()


def test_folds_and_what_follows_from_a_seed_have_one_hash() -> None:
    folds = ("evaluation=crossval", "dataset.seed=${seed}")
    assert hash_of(*folds, "evaluation.fold=1", "seed=1") == hash_of(*folds, "evaluation.fold=2")


def test_cross_validations_of_other_folds_have_other_hashes() -> None:
    assert hash_of("evaluation=crossval", "evaluation.folds=10") != hash_of("evaluation=crossval")


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.lr=0.5",
        "trainer.max_steps=7",
        "callbacks=ema",
        "episode.val.shot=5",
        "backbone=mlp",
        "dataset=omniglot",
    ],
)
def test_other_trainings_have_other_hashes(override: str) -> None:
    assert hash_of(override) != hash_of()


def test_a_variable_of_the_environment_counts_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    override = "optimizer.lr=${oc.env:RATE}"
    monkeypatch.setenv("RATE", "0.1")
    first = hash_of(override)
    monkeypatch.setenv("RATE", "0.2")
    assert hash_of(override) != first


def test_a_test_has_the_hash_of_the_training(metalearn: Command, tmp_path: Path) -> None:
    experiment = tmp_path / "experiment/mine.yaml"
    experiment.parent.mkdir()
    search = f"hydra.searchpath=['file://{tmp_path}']"

    def run(content: str, *overrides: str, **how: Any) -> Any:
        experiment.write_text(f"# @package _global_\n{content}\n")
        done = metalearn(search, "experiment=mine", "trainer.max_steps=4", *overrides, **how)
        assert done.code == 0, done.text
        return done

    slow, fast = "optimizer: {lr: 0.001}", "optimizer: {lr: 0.5}"
    trained = run(slow)
    expected = trained.result["config_sha256"]
    assert run(slow, "seed=1").result["config_sha256"] == expected
    assert run(fast).result["config_sha256"] != expected
    test = metalearn(search, "mode=test", f"checkpoint={trained.folder}", small=False)
    assert test.result["config_sha256"] == expected, "the weights are of the training before the edit"


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ("algorithm=matching", "algorithm=prototypical"),
        ("algorithm.distance=cosine", "algorithm.distance=squared_euclidean"),
        ("batch_norm=support", "batch_norm=running"),
        ("episode.test.way=3", None),
    ],
)
def test_weights_of_another_predictor_are_named_so(
    metalearn: Command, trained: Finished, other: str, named: str | None
) -> None:
    test = metalearn("mode=test", f"checkpoint={trained.folder}", other, small=False)
    assert test.code == 0, test.text
    assert test.result["trained_with"] == ([named] if named else [])
    assert (f"trained with {named}" in " ".join(test.text.replace("│", "").split())) == bool(named)
    assert (test.result["val"] is None) == (test.result["temperature"] is None) == bool(named)
    assert trained.result["config_sha256"] == hash_of(*SMALL)
    trained_so = test.result["config_sha256"] == hash_of(*SMALL, other)
    assert trained_so == (not named), "a mean of both would be of two trainings"


def test_where_weights_came_from_makes_no_other_predictor() -> None:
    trained = {
        "backbone.name": "minilm",
        "backbone.freeze": False,
        "backbone.vectors": "glove.txt",
        "backbone.width": 8,
    }
    own = {"backbone.name": "moved/minilm", "backbone.freeze": True, "backbone.width": 8}
    origin = Origin(**facts(algorithm="maml", settings=trained))
    choices = {"dataset": origin.dataset, "algorithm": "maml"}
    assert trained_with(own, choices, origin) == []
    assert trained_with(own | {"backbone.width": 9}, choices | {"algorithm": "anil"}, origin) == [
        "algorithm=maml",
        "backbone.width=8",
    ]


@pytest.mark.parametrize(
    ("dataset", "named"),
    [("sinusoid", ["dataset.amplitude=[0.1, 5.0]"]), ("gp", ["dataset.amplitude=[0.1,5.0]", "dataset@dataset.a=b"])],
)
def test_a_test_on_other_data_names_those_of_the_training(dataset: str, named: list[str]) -> None:
    typed = [
        "dataset=sinusoid",
        "dataset.amplitude=[0.1,5.0]",
        "dataset@dataset.a=b",
        "dataset.root=/x",
        "dataset.x=[-5,5]",
    ]
    trained = {"dataset.amplitude": [0.1, 5.0], "dataset.x": [-5.0, 5.0]}
    origin = facts(dataset="sinusoid", settings=trained, overrides=typed)
    own = trained | {"dataset.amplitude": [0.1, 1.0]}
    found = trained_with(own, {"dataset": dataset, "algorithm": origin["algorithm"]}, Origin(**origin))
    assert found == named
    assert not is_of_another_predictor(found), "meta-val has scored these weights"
    of_test = sha256(settings_of_a_test(own, {"metalearn": origin}, found), class_split=None)
    assert of_test != sha256(own, class_split=None), "a mean of both would be of two trainings"


def test_a_test_names_the_settings_of_the_training(metalearn: Command) -> None:
    trained = metalearn("optimizer.lr=0.01", "trainer.accumulate_grad_batches=2")
    others = ("trainer=cpu", "trainer.accumulate_grad_batches=4", "trainer.max_steps=99")
    test = metalearn("mode=test", f"checkpoint={trained.folder}", *others, small=False)
    assert test.code == 0, test.text
    assert test.result["accumulate_grad_batches"] == 2

    def of_the_weights(overrides: list[str]) -> set[str]:
        return {override for override in overrides if not override.startswith(("paths.", "mode", "checkpoint"))}

    assert of_the_weights(test.result["overrides"]) == of_the_weights(trained.result["overrides"])


def test_a_test_has_the_devices_of_the_training(metalearn: Command, trained: Finished, tmp_path: Path) -> None:
    folder = shutil.copytree(trained.folder, tmp_path / "run")
    path = folder / "checkpoints/best.ckpt"
    checkpoint = read_checkpoint(path)
    assert checkpoint["metalearn"]["devices"] == 1
    checkpoint["metalearn"]["devices"] = 2
    torch.save(checkpoint, path)
    assert metalearn("mode=test", f"checkpoint={folder}", small=False).result["devices"] == 2


def test_a_test_has_its_own_precision_and_callbacks() -> None:
    trained = ["trainer.precision=bf16-mixed", "trainer.max_steps=7", "optimizer.lr=0.1"]
    own = ["optimizer.lr=0.1", "mode=test", "trainer.precision=32-true", "trainer.max_steps=9", "callbacks=ema"]
    own += ["callbacks.picture=null"]  # it changes no score
    expected = ["trainer.max_steps=7", "optimizer.lr=0.1", "mode=test", "trainer.precision=32-true", "callbacks=ema"]
    assert sorted(overrides_of_a_test(own, trained)) == sorted(expected)


def test_weights_between_validations_have_no_score_of_other_weights(metalearn: Command) -> None:
    every_third = [f"callbacks.save_top_k.{part}" for part in ("monitor=null", "save_top_k=-1")]
    run = metalearn("callbacks=save_top_k", *every_third, "+callbacks.save_top_k.every_n_train_steps=3")
    kept = {path.name: read_checkpoint(path) for path in (run.folder / "checkpoints").iterdir()}
    assert {name for name, checkpoint in kept.items() if "val" in checkpoint} == {"best.ckpt", "last.ckpt"}
    assert {"step3.ckpt", "step6.ckpt"} <= kept.keys()
    test = metalearn("mode=test", f"checkpoint={run.folder}/checkpoints/step6.ckpt", small=False)
    assert test.code == 0, test.text
    assert (test.result["val"], test.result["best_step"]) == (None, 6)
