"""Runs without training: another head on the backbone of a run, and refusals."""

import re
from pathlib import Path

import pytest
import torch
from conftest import Finished, composed
from embedded_tasks import Flat
from hydra.utils import instantiate
from torch import Tensor, nn

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.prototypical import Prototypical
from metalearn.run.checks.weights import check_trainable, check_trained
from metalearn.types import Episode, Predictor, TaskOutput

WITHOUT_OWN = ["prototypical", "matching", "triplet", "baseline", "baseline_plus_plus", "protomaml"]
WITH_OWN = ["siamese", "relation", "r2d2", "metaoptnet", "maml", "mann", "reptile", "matching algorithm.fce=true"]
NAMES = {"algorithm": "ALGORITHM", "backbone": "BACKBONE"}


@pytest.fixture(scope="module")
def trained(metalearn) -> Finished:
    finished = metalearn("algorithm=siamese")
    assert finished.code == 0, finished.text
    return finished


def built(name: str) -> AbstractAlgorithm:
    small = ["dataset.input_shape=[1,16,16]", "backbone.channels=4", "num_base_classes=7", "batch_norm=support"]
    return instantiate(composed(f"algorithm={name.split(maxsplit=1)[0]}", *name.split()[1:], *small).algorithm)


def test_another_head_is_put_on_the_embedding_of_a_run(metalearn, trained: Finished) -> None:
    tested = metalearn("mode=test", f"pretrained={trained.folder}", "algorithm=prototypical", small=False)
    assert tested.code == 0, tested.text
    result, theirs = tested.result, trained.result
    best = trained.folder / "checkpoints/best.ckpt"
    assert (result["steps"], result["best_step"], result["val"]) == (0, None, None)
    assert (result["pretrained"], result["algorithm"], result["trained_dataset"]) == (
        str(best),
        "prototypical",
        "glyphs",
    )
    assert result["test"]["episodes_sha256"] == theirs["test"]["episodes_sha256"]  # the data set is that of the run
    assert result["test"]["accuracy"] != theirs["test"]["accuracy"]
    assert re.search(r"trained on +│ nothing: 0 steps", tested.text)
    assert not list(tested.folder.glob("checkpoints/*"))


def test_a_training_begins_with_the_backbone_of_a_run_directory(metalearn, trained: Finished) -> None:
    again = metalearn(f"pretrained={trained.folder}", "trainer.max_steps=1", "optimizer.lr=0.0", "batch_norm=support")
    assert again.code == 0, again.text
    of_run = trained.checkpoint("best")["state_dict"]
    assert torch.equal(again.checkpoint()["state_dict"][(w := "algorithm.backbone.blocks.0.conv.weight")], of_run[w])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["mode=test"],
            "weights of prototypical on conv4 are random, such as blocks.0.conv.weight: give checkpoint=PATH",
        ),
        (
            ["mode=test", "algorithm=maml"],
            "mode=test: weights of maml besides conv4 are random, such as network.head",
        ),
    ],
)
def test_a_random_network_is_not_tested(metalearn, overrides: list[str], message: str) -> None:
    refused = metalearn(*overrides)
    assert refused.code == 2
    assert message in refused.text.splitlines()[-1]


@pytest.mark.parametrize("name", WITHOUT_OWN)
def test_an_algorithm_without_weights_of_its_own_needs_a_trained_backbone_alone(name: str) -> None:
    algorithm = built(name)
    assert algorithm.own_weights() == []
    with pytest.raises(ValueError, match=r"weights of ALGORITHM on BACKBONE are random, such as blocks.0.conv.weight"):
        check_trained(algorithm, NAMES, None)
    check_trained(algorithm, NAMES, "some.ckpt")


@pytest.mark.parametrize("name", WITH_OWN)
def test_weights_beside_those_of_the_backbone_must_have_been_trained(name: str) -> None:
    algorithm = built(name)
    with pytest.raises(ValueError, match=f"are random, such as {algorithm.own_weights()[0]}: .* by checkpoint=PATH$"):
        check_trained(algorithm, NAMES, "some.ckpt")


def test_running_averages_that_no_training_moved_are_not_relied_on() -> None:
    algorithm = built("prototypical")
    algorithm.batch_norm = "running"
    with pytest.raises(ValueError, match="some.ckpt has no running averages .*: use batch_norm=support$"):
        check_trained(algorithm, NAMES, "some.ckpt")
    algorithm.backbone.blocks[0].norm.running_mean += 0.1
    check_trained(algorithm, NAMES, "some.ckpt")


def test_a_training_of_frozen_weights_is_refused() -> None:
    algorithm = built("prototypical")
    check_trainable(algorithm, NAMES, None)
    with pytest.raises(
        ValueError, match="nothing to train: all weights of ALGORITHM on BACKBONE are frozen; use mode=test"
    ):
        check_trainable(algorithm.requires_grad_(False), NAMES, "some.ckpt")
    with pytest.raises(ValueError, match="backbone.freeze=true keeps the random weights of BACKBONE"):
        check_trainable(algorithm, NAMES, None)


class WithoutWeights(AbstractAlgorithm):
    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        return lambda query_x: -torch.cdist(query_x, support_x) @ support_y

    def loss(self, batch: Episode) -> TaskOutput:
        raise AssertionError


def test_a_training_without_weights_is_refused_and_a_test_is_not() -> None:
    algorithm = WithoutWeights(batch_norm="running")
    with pytest.raises(ValueError, match="^nothing to train: ALGORITHM has no weights; use mode=test$"):
        check_trainable(algorithm, NAMES, None)
    check_trained(algorithm, NAMES, None)
    empty = Prototypical(Flat(4), batch_norm="running")
    with pytest.raises(ValueError, match="^nothing to train: ALGORITHM on BACKBONE has no weights; use mode=test$"):
        check_trainable(empty, NAMES, None)


def test_a_projection_of_frozen_random_weights_is_refused() -> None:
    algorithm = built("prototypical")
    algorithm.backbone.requires_grad_(False)
    algorithm.backbone.projection = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="backbone.freeze=true keeps the random weights of BACKBONE"):
        check_trainable(algorithm, NAMES, None)
    check_trainable(algorithm, NAMES, "some.ckpt")


def test_a_folder_without_a_checkpoint_is_named(metalearn, tmp_path: Path) -> None:
    refused = metalearn("mode=test", f"pretrained={tmp_path}", small=False)
    assert refused.code == 2
    assert refused.text.strip() == f"metalearn: there is no checkpoint {tmp_path}/checkpoints/best.ckpt"
