"""The outer learning rate over a training."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Timer

from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.mlp import MLP
from metalearn.training.module import FewShotModule
from metalearn.training.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("name", "expected"),
    [("constant", (1.0, 1.0, 1.0)), ("linear", (1.0, 0.5, 0.0)), ("cosine", (1.0, 0.505, 0.01))],
)
def test_factors_at_the_beginning_the_middle_and_the_end(name: str, expected: tuple[float, ...]) -> None:
    assert [SCHEDULES[name](done) for done in (0.0, 0.5, 1.0)] == pytest.approx(expected)


@pytest.mark.parametrize("limit", ["trainer.max_steps=8", "trainer.max_time=00:00:00:03"])
def test_a_run_lowers_its_rate_with_its_steps_or_its_time(metalearn, limit: str) -> None:
    run = metalearn(limit, "schedule=linear", "trainer.val_check_interval=8")
    assert run.code == 0, run.text
    (group,) = run.checkpoint()["optimizer_states"][0]["param_groups"]
    # The rate of the last step: the schedule is read after each, and the time goes on for a while.
    assert 0 <= group["lr"] <= 0.2e-3
    assert group["initial_lr"] == 1e-3


def test_all_processes_go_by_the_clock_of_one() -> None:
    timer = Timer(timedelta(minutes=1))
    timer.on_train_start(None, None)  # type: ignore[arg-type]
    module = FewShotModule(Prototypical(MLP([2]), batch_norm="running"), torch.optim.SGD)
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        callbacks=[timer],
        strategy=SimpleNamespace(broadcast=lambda own: 0.75 if own < 0.5 else None),  # what another process has
        global_step=10,
        max_steps=40,
        max_epochs=-1,
    )
    assert module.done() == 0.25  # of the steps
    module.on_train_batch_start(None, 0)
    assert module.done() == 0.75


def test_an_unknown_schedule_is_one_line(metalearn) -> None:
    run = metalearn("schedule=cosin")
    assert run.code == 2
    assert "schedule='cosin' is not of the type" in run.text
