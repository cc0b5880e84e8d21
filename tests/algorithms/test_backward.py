"""Task-by-task gradients and recomputed steps: equal meta-gradients in less memory."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from algorithm_options import of_class
from conftest import composed, episode
from hydra.utils import instantiate
from torch import Tensor

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.gradient import AbstractGradient
from metalearn.algorithms.parts.backward import Share, autocast_without_cache, grad_and_value, mean_over_tasks, whole
from metalearn.algorithms.parts.execution import Execution
from metalearn.types import Episode

SMALL = {
    "mlp": ["backbone=mlp", "dataset.input_shape=[1,4,4]"],
    "resnet12": [
        "backbone=resnet12", "backbone.widths=[4,4,4,4]", "backbone.drop_rate=0.3", "backbone.block_size=1",
        "dataset.input_shape=[1,16,16]",
    ],
}  # fmt: skip


def build(name: str, backbone: str = "mlp") -> AbstractAlgorithm:
    torch.manual_seed(0)
    return instantiate(composed(f"algorithm={name}", *SMALL[backbone], "episode.train.way=3").algorithm).double()


# Reptile and iMAML have no backward pass through the inner steps; CAVIA adapts no weight of an MLP.
OTHERS = ("cavia", "imaml", "reptile")
GRADIENT = [name for name in of_class(AbstractGradient) if name not in OTHERS]


def gradient(algorithm: AbstractAlgorithm, size: int, **execution: bool) -> Tensor:
    algorithm.inner_loop = dataclasses.replace(algorithm.inner_loop, steps=2)  # type: ignore[arg-type]
    algorithm.execution = Execution(**execution)
    algorithm.done = 0.9
    batch = Episode(*(part.double() for part in episode(tasks=2, way=3, shot=2, query=3, size=size)))
    algorithm.zero_grad()
    torch.manual_seed(1)  # seed of the dropout
    algorithm.loss(batch).loss.backward()
    return torch.cat([w.grad.flatten() for w in algorithm.parameters() if w.grad is not None])


@pytest.mark.parametrize("name", GRADIENT)
def test_task_by_task_and_with_steps_done_again_it_is_the_same_gradient(name: str) -> None:
    algorithm = build(name)
    together = gradient(algorithm, 4, vmap=True)
    assert together.any()
    torch.testing.assert_close(gradient(algorithm, 4, vmap=False), together)
    torch.testing.assert_close(gradient(algorithm, 4, vmap=False, checkpoint=True), together)


def test_a_step_that_is_done_again_drops_the_same() -> None:
    algorithm = build("maml", "resnet12").train()
    expected = gradient(algorithm, 16, vmap=False)
    torch.testing.assert_close(gradient(algorithm, 16, vmap=False, checkpoint=True), expected)
    for block in algorithm.network.backbone.blocks:
        block.drop_rate = 0.0
    # Checks that something is dropped.
    assert not torch.allclose(gradient(algorithm, 16, vmap=False), expected)


@pytest.mark.parametrize("name", ["learned_optimizer", "anil"])
@pytest.mark.parametrize("first_order", [False, True], ids=["second", "first"])
@pytest.mark.parametrize("execution", [{}, {"vmap": True}, {"checkpoint": True}], ids=str)
def test_autocast_takes_no_gradient_away(
    name: str, execution: dict[str, bool], first_order: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = build(name).float()
    algorithm.inner_loop = dataclasses.replace(algorithm.inner_loop, first_order=first_order)  # type: ignore[arg-type]
    algorithm.execution = Execution(**execution)
    inner, caches = algorithm.support_gradient, []

    def support_gradient(*arguments: Any) -> Any:
        caches.append(torch.is_autocast_cache_enabled())
        return inner(*arguments)

    monkeypatch.setattr(algorithm, "support_gradient", support_gradient)
    with torch.autocast("cpu", torch.bfloat16):
        algorithm.loss(episode(tasks=2, way=3, shot=2, query=3, size=4)).loss.backward()
    assert caches
    assert not any(caches)  # older torch would lose gradients with a cache
    assert all(
        weight.grad is not None and weight.grad.any() for weight in algorithm.parameters() if weight.requires_grad
    )


def test_the_inner_gradient_is_that_of_torch_func() -> None:
    weight = torch.randn(3, dtype=torch.float64, requires_grad=True)
    frozen, unused = torch.randn(3, dtype=torch.float64), torch.randn(3, dtype=torch.float64, requires_grad=True)

    def after_a_step(derivative: Callable[..., Any]) -> Tensor:
        # Two params share an origin, and the gradient in one must not pass through the other.
        params = {"weight": weight, "head": weight.square(), "frozen": frozen, "unused": unused}
        grads, value = derivative(lambda params: (params["weight"] * params["head"] * params["frozen"]).pow(3).sum())(
            params
        )
        return sum((params[name] - grads[name]).pow(2).sum() for name in params) + value

    ours, theirs = (
        torch.autograd.grad(after_a_step(differentiate), weight)
        for differentiate in (grad_and_value, torch.func.grad_and_value)
    )
    torch.testing.assert_close(ours, theirs)
    assert grad_and_value(lambda weights: weight.sum())({}) == ({}, weight.sum())  # no adapted weights
    assert not grad_and_value(lambda weights: torch.ones(()))({"weight": weight})[0]["weight"].any()
    with torch.inference_mode():
        torch.testing.assert_close(
            grad_and_value(lambda weights: weights["weight"].sum())({"weight": weight})[0]["weight"], weight * 0 + 1
        )
    with torch.no_grad():
        grads, value = grad_and_value(lambda weights: weights["weight"].pow(3).sum())({"weight": weight})
    assert not grads["weight"].requires_grad and not value.requires_grad
    torch.testing.assert_close(grads["weight"], 3 * weight.detach().square())


@pytest.mark.parametrize("share", [whole, lambda work, tasks: [work(tasks[:1]), work(tasks[1:])]])
def test_a_weight_that_no_task_uses_has_no_gradient(share: Share) -> None:
    used, first, last, _ = weights = [torch.ones(2, requires_grad=True) for _ in range(4)]
    tasks = [(torch.tensor(1.0),), (torch.tensor(3.0),)]
    loss, others = mean_over_tasks(lambda x: ((x * used * (first if x == 1 else last)).sum(), x), tasks, weights, share)
    (3 * loss).backward()
    assert loss.item() == 4
    found = [weight.grad if weight.grad is None else weight.grad.tolist() for weight in weights]
    assert found == [[6, 6], [1.5, 1.5], [4.5, 4.5], None]
    assert [other.item() for (other,) in others] == [1, 3]


def test_results_of_a_task_have_no_graph_and_the_loss_no_second_derivative() -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    loss, ((other,), _) = mean_over_tasks(lambda x: (x * weight**2, x * weight), [(torch.ones(()),)] * 2, [weight])
    assert not other.requires_grad
    (gradient,) = torch.autograd.grad(loss**2, weight, create_graph=True)
    assert gradient.item() == 108  # 2 w² 2 w
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.backward()
    with torch.no_grad():
        assert mean_over_tasks(lambda x: (x * weight,), [(torch.ones(()),)], [weight])[0].item() == 3
    assert mean_over_tasks(lambda x: (x * weight,), [(torch.ones(()),)], [])[0].item() == 3  # all weights are frozen


@pytest.mark.parametrize("enabled", [True, False])
def test_a_backward_pass_has_the_precision_of_its_forward_pass(enabled: bool) -> None:
    """Leaves autocast for the loss of a task, as a loss that needs float32 does."""
    weight, x = torch.rand(4, 4, requires_grad=True), torch.rand(4, 4)

    def in_float32(x: Tensor) -> tuple[Tensor]:
        with torch.autocast("cpu", enabled=False):
            return ((x @ weight).square().sum(),)

    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        loss, _ = mean_over_tasks(in_float32, [(x,)], [weight])
        with autocast_without_cache("cpu"):
            assert (x @ x).dtype == (torch.bfloat16 if enabled else torch.float32)
    loss.backward()
    torch.testing.assert_close(weight.grad, 2 * x.T @ (x @ weight.detach()))


PEAKS = """
import os, torch
from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parts.execution import Execution
from metalearn.backbones.conv4 import Conv4
from metalearn.types import Episode
for tasks, checkpoint in ((2, False), (4, False), (2, True)):
    if os.fork():
        os.wait()
        continue
    loop, execution = InnerLoop(steps=8, test_steps=1), Execution(checkpoint=checkpoint)
    backbone = Conv4([1, 28, 28], channels=16)
    maml = MAML(backbone, way=5, inner_lr=0.1, inner_loop=loop, execution=execution, batch_norm="batch")
    x, y = torch.rand(tasks, 100, 1, 28, 28), torch.eye(5).repeat(20, 1).expand(tasks, -1, -1)
    maml.loss(Episode(x, y, x, y)).loss.backward()
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(peak, flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read in /proc")
def test_memory_grows_neither_with_tasks_nor_when_checkpointed_with_steps(environment: dict[str, str]) -> None:
    """Runs each case in a fork, which has a peak of its own; freed tensors leave it at once."""
    command = [sys.executable, "-c", PEAKS]
    exact = {**environment, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=exact, capture_output=True, text=True, check=True)
    # The allocator settles in the first tasks.
    few, many, checkpointed = (int(line) / 1024 for line in done.stdout.split())  # MiB
    graph = few - checkpointed  # graph of all steps of a task but one
    assert graph > 40
    assert many - few < graph / 4  # two more tasks that were kept would add two graphs


def test_what_does_not_go_together() -> None:
    for other in ({"compile": True}, {"vmap": True}):
        with pytest.raises(ValueError, match="^execution.checkpoint=true excludes compile"):
            Execution(checkpoint=True, **other)
