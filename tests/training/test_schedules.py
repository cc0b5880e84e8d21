"""The outer learning rate over a training."""

import csv
from datetime import timedelta
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from conftest import Command, Finished
from lightning.pytorch.callbacks import Timer

from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.mlp import MLP
from metalearn.run.checks.built import check_scheduler
from metalearn.training.module import FewShotModule
from metalearn.training.schedules import Constant, Cosine, Linear, Schedule, set_rates


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), (1.0, 1.0, 1.0)),
        (Linear(), (1.0, 0.5, 0.0)),
        (Cosine(), (1.0, 0.505, 0.01)),
        (Cosine(floor=0.0), (1.0, 0.5, 0.0)),
        (Cosine(warmup=0.5), (0.0, 1.0, 0.01)),
        (Cosine(warmup=0.8), (0.0, 0.625, 0.01)),
    ],
)
def test_factors_at_the_beginning_the_middle_and_the_end(schedule: Schedule, expected: tuple[float, ...]) -> None:
    assert [schedule(done) for done in (0.0, 0.5, 1.0)] == pytest.approx(expected)


@pytest.mark.parametrize("limit", ["trainer.max_steps=8", "trainer.max_time=00:00:00:03"])
def test_a_run_lowers_its_rate_with_its_steps_or_its_time(metalearn, limit: str) -> None:
    run = metalearn(limit, "scheduler=linear", "trainer.val_check_interval=8")
    assert run.code == 0, run.text
    (group,) = run.checkpoint()["optimizer_states"][0]["param_groups"]
    # The checkpoint has the rate of the last step, and time passes after the schedule is read.
    assert 0 <= group["lr"] <= 0.2e-3
    assert group["initial_lr"] == 1e-3


def test_all_processes_go_by_the_clock_of_one() -> None:
    timer = Timer(timedelta(minutes=1))
    timer.on_train_start(None, None)  # type: ignore[arg-type]
    module = FewShotModule(Prototypical(MLP([2]), batch_norm="running"), torch.optim.SGD)
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        callbacks=[timer],
        # Value of another process.
        strategy=SimpleNamespace(broadcast=lambda own: 0.75 if own < 0.5 else None),
        global_step=10,
        max_steps=40,
        max_epochs=-1,
    )
    assert module.done() == 0.25  # fraction of the steps
    module.on_train_batch_start(None, 0)
    assert module.done() == 0.75
    module.trainer.global_step = 50  # resumed with fewer steps than it had
    assert module.done() == 1.0


@pytest.mark.parametrize(("schedule", "expected"), [(Constant(), 0.1), (Linear(), 0.05)])
def test_a_resumed_training_begins_at_the_rate_of_its_schedule(schedule: Schedule, expected: float) -> None:
    """Resumes a training that a linear schedule has ended, for as many steps again."""
    module = FewShotModule(Prototypical(MLP([2]), batch_norm="running"), partial(torch.optim.SGD, lr=0.1), schedule)
    optimizer = module.make_optimizer()
    optimizer.param_groups[0] |= {"initial_lr": 0.1, "lr": 0.0}
    timer, strategy = Timer(timedelta(minutes=1)), SimpleNamespace(broadcast=lambda own: own)
    timer.on_train_start(None, None)  # type: ignore[arg-type]
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        callbacks=[timer], strategy=strategy, global_step=8, max_steps=16, max_epochs=-1, optimizers=[optimizer]
    )
    module.on_train_start()
    assert optimizer.param_groups[0]["lr"] == expected
    module.trainer.global_step, optimizer.param_groups[0]["lr"] = 0, 0.1
    module.on_train_start()
    assert optimizer.param_groups[0]["lr"] == 0.1, "a fresh optimizer has its first rate"


def test_a_training_that_changed_its_schedule_can_be_resumed_again() -> None:
    """Resumes a constant rate with a linear schedule, and then with both."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    for schedule, expected in ((Linear(), 0.025), (Linear(), 0.025), (Constant(), 0.1)):
        set_rates(schedule, optimizer, 0.75)
        assert optimizer.param_groups[0]["lr"] == expected
    del optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["initial_lr"]
    set_rates(Constant(), optimizer, 0.5)  # an own optimizer may have no rate


def rate(run: Finished) -> float:
    (group,) = run.checkpoint()["optimizer_states"][0]["param_groups"]
    return group["lr"]


def test_a_scheduler_of_torch_counts_steps(metalearn: Command) -> None:
    # 10 steps in all.
    run = metalearn("scheduler=step", "scheduler.step_size=3", "scheduler.gamma=0.5")
    assert run.code == 0, run.text
    assert rate(run) == pytest.approx(1e-3 / 8)


def test_a_plateau_is_one_of_the_loss_on_meta_val(metalearn: Command) -> None:
    """Requires an improvement by 10 nats, which the last two of three validations lack."""
    no_better = ["scheduler.patience=0", "+scheduler.threshold=10.0", "+scheduler.threshold_mode=abs"]
    run = metalearn("scheduler=plateau", *no_better)
    assert run.code == 0, run.text
    assert rate(run) == pytest.approx(1e-3 / 4)
    rows = csv.DictReader((run.folder / "metrics.csv").read_text().splitlines())
    first = next(float(row["val/loss"]) for row in rows if row["val/loss"])
    assert run.checkpoint()["lr_schedulers"][0]["best"] == pytest.approx(first)


@pytest.mark.parametrize("wrong", [("step", "step_size=0"), ("plateau", "factor=2.0")])
def test_what_a_scheduler_of_torch_refuses_is_one_line(metalearn: Command, wrong: tuple[str, str]) -> None:
    name, setting = wrong
    run = metalearn(f"scheduler={name}", f"scheduler.{setting}")
    assert run.code == 2, run.text
    assert "metalearn: scheduler: torch refuses these settings (" in run.text
    assert "Traceback" not in run.text


def test_a_schedule_of_another_class_is_refused() -> None:
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match="Fraction does not derive from metalearn.training.schedules.Schedule"):
        check_scheduler(Fraction(1, 2), sgd, 10)


def test_an_unknown_scheduler_is_one_line(metalearn: Command) -> None:
    run = metalearn("scheduler=cosin")
    assert run.code == 2
    assert "scheduler has no option 'cosin'; did you mean 'cosine'?" in run.text


def test_schedules_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"floor=-5 must not be negative"):
        Cosine(floor=-5)
    with pytest.raises(ValueError, match=r"warmup=1.0 must be a fraction of the training"):
        Cosine(warmup=1.0)
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=4)
    check_scheduler(cycle, sgd, 4)
    with pytest.raises(ValueError, match=r"total_steps=4 ends before trainer.max_steps=8$"):
        check_scheduler(cycle, sgd, 8)


def test_a_scheduler_must_not_overrule_the_learning_rate_of_the_backbone() -> None:
    def two_rates() -> torch.optim.Optimizer:
        rest, backbone = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
        return torch.optim.SGD([{"params": [rest]}, {"params": [backbone], "lr": 0.001}], lr=0.1)

    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, total_steps=4)
    with pytest.raises(ValueError, match=r"OneCycleLR gives all weights one learning rate, which overrules optimizer"):
        check_scheduler(partial(cycle, max_lr=0.1), two_rates(), 4)
    check_scheduler(partial(cycle, max_lr=[0.1, 0.001]), two_rates(), 4)
    check_scheduler(partial(torch.optim.lr_scheduler.StepLR, step_size=1), two_rates(), 4)
    check_scheduler(partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.0), two_rates(), 4)
