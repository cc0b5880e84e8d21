"""Training steps that a GPU replays as CUDA graphs, and tasks that adapt together."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from algorithm_options import NAMES, of_class
from conftest import Command, composed, episode
from hydra.utils import instantiate
from test_host_sync import WAITS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.gradient import AbstractGradient
from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.mlp import MLP
from metalearn.backbones.norm import Rows
from metalearn.episodes.setting import Setting
from metalearn.training.module import FewShotModule
from metalearn.training.replay import ReplayedLoss, ReplayedSteps, why_not_replayed
from metalearn.types import Episode, TaskOutput

VARIES = WAITS | {"maml_plus_plus"}
"""Algorithms that are not replayable."""

SMALL = ("dataset.input_shape=[1,16,16]", "backbone.channels=4", "episode.train.way=3", "num_base_classes=3")


def built(name: str) -> AbstractAlgorithm:
    """Builds an algorithm whose tasks run together, as they do on a GPU."""
    torch.manual_seed(0)
    algorithm = instantiate(composed(f"algorithm={name}", *SMALL).algorithm)
    if isinstance(algorithm, AbstractGradient):
        algorithm.execution = dataclasses.replace(algorithm.execution, vmap=True)
    return algorithm


def batch_for(algorithm: AbstractAlgorithm, seed: int, device: str = "cpu") -> Episode:
    batch = Episode(*(part.to(device) for part in episode(way=3, seed=seed)))
    if algorithm.num_base_classes is None:
        return batch
    return batch._replace(support_x=batch.support_x[:, :0], support_y=batch.support_y[:, :0])


class Kernels(TorchDispatchMode):
    """Mode that records the operators with all their arguments but the values of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        shapes = torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tuple(tensor.shape), (args, kwargs))
        self.calls.append((str(operator), str(shapes)))
        return operator(*args, **(kwargs or {}))


class Dropped(MLP):
    """Network with running averages and dropout."""

    def __init__(self) -> None:
        super().__init__([1, 16, 16], hidden=[4])

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return F.dropout(super().forward(x, rows), training=self.training)


def kernels(algorithm: AbstractAlgorithm, batch: Episode) -> list[Any]:
    with Kernels() as found:
        algorithm.loss(batch).loss.backward()
    return found.calls


@pytest.mark.parametrize("name", NAMES)
def test_replayable_steps_launch_the_same_kernels(name: str) -> None:
    algorithm, calls = built(name), []
    for done in (0.1, 0.9):
        algorithm.done = done
        calls.append(kernels(algorithm, batch_for(algorithm, seed=int(10 * done))))
        algorithm.zero_grad()
    assert algorithm.replayable == (name not in VARIES)
    assert calls[0] == calls[1] or name in VARIES


@pytest.mark.parametrize("name", of_class(AbstractGradient))
def test_tasks_adapt_together_as_one_by_one(name: str) -> None:
    algorithm, batch = built(name).double().eval(), Episode(*(part.double() for part in episode(tasks=3, way=3)))
    with torch.no_grad():
        together = [predict(batch.query_x) for predict in algorithm.stages_of_all(batch.support_x, batch.support_y)]
        alone = [
            [predict(task.query_x) for predict in algorithm.stages(task.support_x, task.support_y)]
            for task in batch.tasks()
        ]
    expected = [torch.stack(of_stage) for of_stage in zip(*alone, strict=True)]
    torch.testing.assert_close(together, expected, rtol=1e-8, atol=1e-10)


def test_a_run_says_why_it_cannot_replay(metalearn: Command) -> None:
    run = metalearn("trainer.cuda_graph=true", "trainer.accelerator=cpu")
    assert run.code == 2
    assert "trainer.cuda_graph=true: it needs a CUDA device, and the run is on cpu" in run.text


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"device": "cpu"}, "it needs a CUDA device, and the run is on cpu"),
        ({"world_size": 2}, "it needs one device, and the run has 2"),
        ({"algorithm": "maml_plus_plus"}, "MAMLPlusPlus does not promise"),
        ({"way": [3, 5]}, "the shapes of the training episodes vary"),
        ({"way": [3, 5], "batch_size": 8}, None),  # batches of all base classes
        ({"_detect_anomaly": True}, "the search for anomalies"),
        ({"accumulate_grad_batches": 2}, "accumulated gradients"),
    ],
)
def test_reasons_against_a_replay(changed: dict[str, Any], reason: str | None) -> None:
    given = {"device": "cuda", "algorithm": "maml", "way": 3, "world_size": 1, "accumulate_grad_batches": 1}
    given |= {"_detect_anomaly": False} | changed
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(given.pop("device"))), **given)
    settings = {"train": Setting(given["way"], 1, 1), "val": Setting([3, 5], 1, 1)}
    trainer.datamodule = SimpleNamespace(batch_size=given.get("batch_size"), settings=settings)
    algorithm = built(given["algorithm"])
    found = why_not_replayed(algorithm, trainer, trainer.datamodule)
    assert found is None if reason is None else reason in str(found)
    module, callback = FewShotModule(algorithm, torch.optim.SGD), ReplayedSteps()
    module.loss = algorithm.loss
    callback.on_fit_start(trainer, module)
    assert isinstance(module.loss, ReplayedLoss) == (reason is None)
    callback.on_fit_end(trainer, module)
    assert module.loss == algorithm.loss


def test_a_recording_leaves_no_trace_in_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the recorder of torch, which warms up and overwrites its inputs and results."""
    autocasts: list[tuple[bool, bool]] = []

    def recorder(module: nn.Module, inputs: tuple[Tensor, ...], **_: Any) -> Callable[..., tuple[Tensor, ...]]:
        autocasts.append((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))
        results = module(*inputs)
        for part in inputs:
            part.zero_()

        def replay(*batch: Tensor) -> tuple[Tensor, ...]:
            with torch.no_grad():
                for kept, new in zip(results, module(*batch), strict=True):
                    kept.copy_(new)
            return results

        return replay

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", recorder)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    recorded, plain = (Prototypical(Dropped(), batch_norm="running").train() for _ in range(2))
    plain.load_state_dict(recorded.state_dict())

    def outputs(loss: Callable[[Episode], TaskOutput]) -> list[Any]:
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            found = [loss(batch_for(plain, seed)) for seed in range(3)]
        return [*(output.loss.item() for output in found), found[-1].logits.tolist()]

    assert outputs(ReplayedLoss(recorded)) == outputs(plain.loss)
    assert autocasts == [(True, False)]
    torch.testing.assert_close(dict(recorded.named_buffers()), dict(plain.named_buffers()), rtol=0, atol=0)
