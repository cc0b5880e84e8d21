"""A non-finite loss ends a run, or is skipped and counted; it is never a result."""

import csv
import math
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import SMALL, Command, Finished, episode

from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.mlp import MLP
from metalearn.training.module import FewShotModule
from metalearn.types import Episode, TaskOutput

DIVERGES = ["optimizer.lr=1e30", "trainer.log_every_n_steps=1"]


def test_a_training_ends_at_the_first_loss_that_is_no_number(metalearn: Command, tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer/mine.yaml").write_text("_target_: torch.optim.Adam\n_partial_: true\nlr: 1e30\n")
    own, folder = ["--config-dir", str(tmp_path), "optimizer=mine"], tmp_path / "run"
    run = metalearn(*own, *SMALL, f"hydra.run.dir={folder}", folder=folder, small=False)
    assert run.code == 1
    assert run.result["status"] == "failed"
    error = run.result["error"]
    assert re.search(r"the training loss is nan at step 2, in batch 1 \(training episodes 1 to 1\)", error)
    replay = re.search(r"locate the fault: python -m metalearn (.*?);", error)
    assert replay
    assert shlex.split(replay[1])[:2] == ["--config-dir", str(tmp_path)]
    again = metalearn(*shlex.split(replay[1]), folder=run.folder, small=False)
    assert again.code == 1
    assert "in batch 1 (training episodes 1 to 1)" in again.text or "returned nan values" in again.text


def test_batches_are_skipped_and_counted(metalearn: Command) -> None:
    """Skips from the second step on, since the first step makes every loss NaN."""
    run = metalearn(*DIVERGES, "trainer.skip_nonfinite=3")
    assert run.code == 1
    assert run.result["skipped_batches"] == 3
    assert "in batch 4" in run.result["error"]


def test_a_skipped_batch_changes_nothing(metalearn: Command, tmp_path: Path) -> None:
    """Compares runs in which nothing is skipped, with and without permission to skip."""
    plain, careful = metalearn(), metalearn("trainer.skip_nonfinite=3")
    assert plain.test == careful.test


def test_a_skipped_batch_moves_no_average_and_the_next_one_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm, calls = Prototypical(MLP([2], hidden=[3]), batch_norm="running"), list[Any]()
    average, logits = next(algorithm.buffers()), torch.rand(2, 12, 3)
    losses = iter([torch.tensor(math.nan), torch.tensor(1.0), torch.tensor(math.nan)])

    def loss(batch: Episode) -> TaskOutput:
        average.add_(1.0)
        return TaskOutput(next(losses), logits)

    algorithm.loss = loss  # type: ignore[method-assign]
    module, batch = FewShotModule(algorithm, torch.optim.SGD, skip_nonfinite=1), episode()
    data = SimpleNamespace(skip=lambda: calls.append("skip"), observe=lambda *given: calls.append(given))
    module.trainer = SimpleNamespace(global_step=3, max_steps=4, max_epochs=-1, datamodule=data)  # type: ignore[assignment]
    logged: dict[str, Any] = {}
    monkeypatch.setattr(module, "log", logged.__setitem__)
    before = average.clone()
    assert module.training_step(batch, 0) is None
    assert module.num_skipped == 1
    assert torch.equal(average, before)
    assert calls == ["skip"]
    assert algorithm.done == 0.75
    output = module.training_step(batch, 1)
    assert torch.equal(average, before + 1)
    assert output == logged["train/loss"] == 1
    ((found, targets),) = calls[1:]
    assert found is logits and targets is batch.query_y
    assert logged["step"] == 4  # steps done after this one
    right = logits.argmax(-1) == batch.query_y.argmax(-1)
    torch.testing.assert_close(logged["train/accuracy"], right.float().mean())
    assert module.training_step(batch, 2).isnan(), "more are not skipped than skip_nonfinite allows"


@pytest.mark.parametrize("overrides", [["dataset=sinusoid", "algorithm.inner_lr=1000"]])
def test_a_test_whose_loss_is_no_number_is_no_result(metalearn: Command, overrides: list[str]) -> None:
    small = ["trainer.max_steps=4", "trainer.val_check_interval=2"]
    small += ["episode.val.num_episodes=3", "episode.test.num_episodes=3"]
    run = metalearn(*small, *overrides, small=False)
    assert run.code == 1
    assert run.result["status"] == "failed"
    assert "finite" in run.result["error"] or "loss" in run.result["error"]


def losses(run: Finished) -> list[str]:
    with (run.folder / "metrics.csv").open() as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.parametrize(
    "epochs",
    [
        ["trainer.limit_train_batches=2"],
        ["trainer.limit_train_batches=3", "+trainer.reload_dataloaders_every_n_epochs=1"],
        ["trainer.limit_train_batches=5", "trainer.max_epochs=2"],
    ],
)
def test_epochs_draw_on(metalearn: Command, epochs: list[str]) -> None:
    """Continues with the next episode in the next epoch, wherever an epoch ends."""
    assert losses(metalearn(*epochs)) == losses(metalearn())
