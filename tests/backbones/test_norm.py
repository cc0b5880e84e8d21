"""Batch normalisation: the source of the moments, and the dependence of predictions on it."""

import copy

import pytest
import torch
from conftest import composed, episode
from hydra.utils import instantiate
from torch import nn

from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.conv4 import Conv4
from metalearn.backbones.norm import BatchNorm, Rows, rows, weights_of_norms


def test_batch_mode_is_torch_batch_norm() -> None:
    x = torch.randn(6, 4, 5, 5)
    ours, theirs = BatchNorm(4), nn.BatchNorm2d(4)
    torch.testing.assert_close(ours(x, Rows(track=True)), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    theirs.eval()
    torch.testing.assert_close(ours(x, None), theirs(x))


def test_each_task_has_its_own_moments() -> None:
    first, second = torch.randn(6, 4), 5 + 3 * torch.randn(6, 4)
    norm = BatchNorm(4)
    together = norm(torch.cat([first, second]), Rows(tasks=2))
    torch.testing.assert_close(together, torch.cat([norm(first, Rows()), norm(second, Rows())]))


def test_tasks_move_the_running_averages_by_their_mean() -> None:
    tasks = torch.randn(2, 6, 4) * torch.tensor([1.0, 3.0])[:, None, None]
    together, first, second = BatchNorm(4), BatchNorm(4), BatchNorm(4)
    together(tasks.flatten(0, 1), Rows(tasks=2, track=True))
    first(tasks[0], Rows(track=True))
    second(tasks[1], Rows(track=True))
    torch.testing.assert_close(together.running_mean, (first.running_mean + second.running_mean) / 2)
    torch.testing.assert_close(together.running_var, (first.running_var + second.running_var) / 2)


def test_support_moments_normalise_the_queries() -> None:
    x = torch.randn(10, 4, 3, 3)
    normalised = BatchNorm(4)(x, Rows(support=6))
    mean, std = x[:6].mean((0, 2, 3), keepdim=True), x[:6].var((0, 2, 3), correction=0, keepdim=True).add(1e-5).sqrt()
    torch.testing.assert_close(normalised, (x - mean) / std)


def test_moments_of_a_single_support_value_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not \(1, 4\): give more support rows, or another"):
        BatchNorm(4)(torch.randn(2, 4), Rows(support=1))


@pytest.mark.parametrize("mode", [Rows(support=5), Rows()], ids=["support", "batch"])
def test_moments_in_half_precision_are_those_of_float32(mode: Rows) -> None:
    torch.manual_seed(0)
    x = (torch.randn(40, 64, 6, 6) + 5).bfloat16()
    found, expected = BatchNorm(64)(x, mode), BatchNorm(64).double()(x.double(), mode)
    assert found.dtype == torch.bfloat16
    # Rounding the results is no systematic shift of a channel; rounding the moments is one.
    assert (found.double() - expected).mean((0, 2, 3)).abs().max() < 1e-3


def test_only_running_training_moves_the_averages() -> None:
    tracks = {
        (mode, training): bool((chosen := rows(mode, training=training, support=3)) and chosen.track)
        for mode in ("running", "support", "batch")
        for training in (True, False)
    }
    assert [key for key, value in tracks.items() if value] == [("running", True)]


def algorithms(batch_norm: str):
    yield Prototypical(Conv4([1, 16, 16], channels=4), batch_norm=batch_norm)
    yield MAML(
        Conv4([1, 16, 16], channels=4),
        way=3,
        inner_lr=0.4,
        inner_loop=InnerLoop(steps=2, test_steps=2),
        batch_norm=batch_norm,
    )


@pytest.mark.parametrize("batch_norm", ["support", "batch"])
def test_evaluation_leaves_the_running_averages_alone(batch_norm: str) -> None:
    batch = episode()
    for algorithm in algorithms(batch_norm):
        before = {name: buffer.clone() for name, buffer in algorithm.named_buffers()}
        algorithm.loss(batch)
        algorithm.eval().adapt(batch.support_x[0], batch.support_y[0])(batch.query_x[0])
        for name, buffer in algorithm.named_buffers():
            assert torch.equal(buffer, before[name])


def test_running_mode_tracks_in_every_family() -> None:
    for algorithm in algorithms("running"):
        before = {name: buffer.clone() for name, buffer in algorithm.named_buffers()}
        algorithm.loss(episode())
        assert all(not torch.equal(buffer, before[name]) for name, buffer in algorithm.named_buffers())


@pytest.mark.parametrize("name", ["maml", "imaml", "learned_optimizer", "reptile"])
def test_inner_steps_leave_the_averages_of_one_pass_over_all_rows_at_theta(name: str) -> None:
    small = ["backbone=mlp", "dataset.input_shape=[1,4,4]", "episode.train.way=3", "batch_norm=running"]
    algorithm, batch = instantiate(composed(f"algorithm={name}", *small).algorithm), episode(size=4)
    expected = [copy.deepcopy(algorithm.network.backbone) for _ in batch.tasks()]
    for backbone, task in zip(expected, batch.tasks(), strict=True):
        backbone(torch.cat([task.support_x, task.query_x]), Rows(track=True))
    algorithm.loss(batch)
    of_tasks = zip(*(backbone.buffers() for backbone in expected), strict=True)
    for buffer, each in zip(algorithm.network.backbone.buffers(), of_tasks, strict=True):
        torch.testing.assert_close(buffer, torch.stack(each).mean(0))


def test_normalisation_is_known_by_its_class_and_not_by_its_name() -> None:
    layers = {"first": BatchNorm(4), "normal": nn.Linear(4, 4), "norms": nn.ModuleList([nn.LayerNorm(4), nn.ReLU()])}
    network = nn.ModuleDict({**layers, "last": nn.BatchNorm1d(4, affine=False)})
    assert weights_of_norms(network) == {"first.weight", "first.bias", "norms.0.weight", "norms.0.bias"}
