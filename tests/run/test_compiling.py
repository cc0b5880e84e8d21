"""Compilation of the loss of a task in a long training of MAML."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import composed
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Timer

from metalearn.algorithms.gradient import AbstractGradient
from metalearn.episodes.setting import Setting
from metalearn.run.compiling import CompiledTasks, why_not_compiled

LONG: dict[str, Any] = {
    "max_steps": 5_000,
    "accumulate_grad_batches": 1,
    "precision": "32-true",
    "callbacks": [],
    "is_global_zero": True,
}
"""Trainer of a training with 40,000 inner steps: 5,000 steps of 8 tasks."""


def built(*overrides: str) -> AbstractGradient:
    return instantiate(composed("algorithm=maml", *overrides).algorithm)


def training(device: str = "cpu", way: Any = 5, **changed: Any) -> SimpleNamespace:
    data = SimpleNamespace(settings={"train": Setting(way, 1, 1)}, tasks_per_batch=8)
    return SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device(device)), datamodule=data, **(LONG | changed)
    )


@pytest.mark.parametrize(
    ("overrides", "trainer", "reason"),
    [
        ((), {}, None),
        (("algorithm.inner_loop.steps=5",), {"max_steps": 1_000}, None),
        ((), {"max_steps": 2_500, "accumulate_grad_batches": 2}, None),
        ((), {"max_steps": 4_999}, "39,992 inner steps do not repay it, 40,000 would"),
        ((), {"max_steps": -1}, "the number of steps is unlimited"),
        ((), {"callbacks": [Timer("00:00:10:00")]}, "the time limit includes the compilation"),
        ((), {"device": "cuda"}, "this is for CPUs, and the run is on cuda"),
        ((), {"way": [3, 5]}, "the shapes of the training episodes vary"),
        ((), {"precision": "bf16-mixed"}, "the precision is bf16-mixed"),
        (("algorithm.inner_loop.first_order=true",), {}, "the inner loop has no second derivatives"),
        (("algorithm.inner_loop.adapt=[head]",), {}, "no convolution is adapted"),
        (("backbone=mlp",), {}, "no convolution is adapted"),
        (("algorithm.execution.vmap=true",), {}, "execution.vmap or execution.checkpoint is set"),
    ],
)
def test_reasons_against_compiling(
    overrides: tuple[str, ...], trainer: dict[str, Any], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
    run = training(**trainer)
    assert why_not_compiled(built(*overrides), run, run.datamodule) == reason


def test_what_a_compiler_needs_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    run = training()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/clang++" if name == "clang++" else None)
    assert why_not_compiled(built(), run, run.datamodule) == "the headers of Python are missing"
    (tmp_path / "Python.h").touch()
    assert why_not_compiled(built(), run, run.datamodule) is None
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert why_not_compiled(built(), run, run.datamodule) == "there is neither g++ nor clang++"


@pytest.mark.parametrize(
    ("overrides", "steps", "compiles"),
    [
        ((), 5_000, True),
        ((), 10, None),
        (("algorithm.execution.compile=false",), 5_000, False),  # a setting of the user stands
        (("algorithm=meta_sgd",), 5_000, None),
    ],
)
def test_a_long_training_is_compiled(
    overrides: tuple[str, ...],
    steps: int,
    compiles: bool | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("metalearn.run.compiling.why_not_compiled", _only_by_steps)
    module = SimpleNamespace(algorithm=built(*overrides))
    CompiledTasks().on_fit_start(training(max_steps=steps), module)
    assert module.algorithm.execution.compile is compiles
    assert ("compiling the loss of a task" in capsys.readouterr().out) == bool(compiles)


def _only_by_steps(algorithm: AbstractGradient, trainer: Any, data: Any) -> str | None:
    return None if trainer.max_steps * data.tasks_per_batch >= 40_000 else "it is short"
