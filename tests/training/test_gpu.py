"""Algorithms on a GPU against the CPU, in float64. Skipped where torch finds no CUDA device."""

import copy

import pytest
import torch
from algorithm_options import NAMES
from conftest import Command, episode
from test_replay import VARIES, batch_for, built

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.training.replay import ReplayedLoss
from metalearn.types import Episode

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

STATISTICS = {"distribution_calibration", "laplacian_shot", "simple_shot"}
"""Algorithms that predict by statistics of the base classes, which these tests do not compute."""

RANDOM = {"feat", "hallucination"}
"""Algorithms whose loss draws random numbers, which a GPU draws otherwise."""


def double(batch: Episode, device: str) -> Episode:
    return Episode(*(part.to(device, torch.float64) for part in batch))


def loss_and_gradients(algorithm: AbstractAlgorithm, batch: Episode) -> list[torch.Tensor | None]:
    torch.manual_seed(0)
    loss = algorithm.loss(batch).loss
    loss.backward()
    found = [loss.detach(), *(p.grad for p in algorithm.parameters()), *algorithm.buffers()]
    return [tensor if tensor is None else tensor.cpu() for tensor in found]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RANDOM])
def test_loss_and_gradient_are_those_of_the_cpu(name: str) -> None:
    algorithm = built(name).double()
    other = copy.deepcopy(algorithm).cuda()
    batch = batch_for(algorithm, seed=0)
    expected = loss_and_gradients(algorithm, double(batch, "cpu"))
    torch.testing.assert_close(
        loss_and_gradients(other, double(batch, "cuda")), expected, rtol=1e-6, atol=1e-9, equal_nan=True
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STATISTICS])
def test_predictions_are_those_of_the_cpu(name: str) -> None:
    algorithm = built(name).double().eval()
    other = copy.deepcopy(algorithm).cuda()
    task = episode(tasks=1, way=3)
    predictions = []
    for placed, device in ((algorithm, "cpu"), (other, "cuda")):
        support_x, support_y, query_x, _ = (part[0] for part in double(task, device))
        torch.manual_seed(0)
        with torch.no_grad():
            predictions.append(placed.adapt(support_x, support_y)(query_x).cpu())
    torch.testing.assert_close(predictions[1], predictions[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in VARIES | RANDOM])
def test_a_replay_gives_the_loss_and_the_gradient(name: str) -> None:
    plain = built(name).double().cuda()
    replayed = copy.deepcopy(plain)
    loss = ReplayedLoss(replayed)
    for seed in range(3):
        batch = double(batch_for(plain, seed), "cuda")
        plain.zero_grad()
        replayed.zero_grad()
        expected, found = plain.loss(batch).loss, loss(batch).loss
        expected.backward()
        found.backward()
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
        for ours, exact in zip(replayed.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, exact.grad, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(dict(replayed.named_buffers()), dict(plain.named_buffers()), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["prototypical", "maml", "reptile", "baseline_plus_plus", "mann"])
def test_a_run_on_the_gpu(fresh_metalearn: Command, environment: dict[str, str], name: str, precision: str) -> None:
    visible = {name: value for name, value in environment.items() if name != "CUDA_VISIBLE_DEVICES"}
    settings = (f"trainer.precision={precision}", "trainer.accelerator=gpu")
    run = fresh_metalearn(f"algorithm={name}", *settings, environment=visible)
    assert run.code == 0, run.text
    assert run.result["status"] == "completed"
