"""Weights that are to be trained and are not part of the loss are named once, at the first step."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import Command, composed
from hydra.utils import instantiate
from own_backbone import own_backbone
from torch import Tensor, nn

from metalearn import MLP, ClassBank, EpisodicDataModule, FewShotModule, Prototypical, Setting
from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import BatchNorm, Rows
from metalearn.training.callbacks import FirstStep
from metalearn.types import Episode, TaskOutput


class Unused(AbstractBackbone):
    """Linear layer, beside two that no embedding depends on; one of these is frozen."""

    num_features, map_shape = 4, (4, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.used, self.lost, self.frozen = (nn.Linear(64, 4) for _ in range(3))
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return self.used(x.flatten(1))


def train(algorithm: AbstractAlgorithm, *, skip_nonfinite: int = 0) -> None:
    images = np.random.default_rng(0).integers(256, size=(5, 4, 1, 8, 8), dtype=np.uint8)
    bank, setting = ClassBank.from_classes(images, list("abcde")), Setting(way=5, shot=1, query=3, num_episodes=2)
    banks = {"train": bank, "val": bank}
    settings = dict.fromkeys(banks, setting)
    data = EpisodicDataModule(banks, settings, seed=0, tasks_per_batch=2)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    trainer = pl.Trainer(accelerator="cpu", max_steps=3, val_check_interval=3, callbacks=[FirstStep()], **quiet)
    module = FewShotModule(algorithm, partial(torch.optim.SGD, lr=1e-3), skip_nonfinite=skip_nonfinite)
    trainer.fit(module, datamodule=data)


@pytest.mark.parametrize(
    ("name", "backbone", "expected"),
    [
        ("prototypical", Unused, "2 of 4 trainable parameters .*: backbone.lost.weight, backbone.lost.bias"),
        ("maml", Unused, "2 of 6 trainable parameters .*: network.backbone.lost.weight, network.backbone.lost.bias"),
        ("prototypical", lambda: MLP([1, 8, 8], hidden=[4]), None),
        ("maml", lambda: MLP([1, 8, 8], hidden=[4]), None),
    ],
)
def test_weights_outside_of_the_loss_are_named_once(
    name: str, backbone: Callable[[], AbstractBackbone], expected: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    config = composed(f"algorithm={name}", "episode.train.way=5")
    train(instantiate(config.algorithm, _partial_=True)(backbone=backbone()))
    warnings = [record.getMessage() for record in caplog.records if "no gradient" in record.getMessage()]
    assert len(warnings) == (expected is not None)
    assert expected is None or re.search(f"^{expected}$", warnings[0])


class WithoutRows(AbstractBackbone):
    """Linear layer that gives zeros, and batch normalisation, which gets its rows or not."""

    num_features, map_shape = 4, (4, 1, 1)

    def __init__(self, *, passes: bool) -> None:
        super().__init__()
        self.linear, self.norm, self.passes = nn.Linear(64, 4), BatchNorm(4), passes
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return self.norm(self.linear(x.flatten(1)), rows if self.passes else None)


@pytest.mark.parametrize("passes", [False, True])
def test_averages_that_a_training_does_not_move_are_named(passes: bool, caplog: pytest.LogCaptureFixture) -> None:
    train(Prototypical(WithoutRows(passes=passes), batch_norm="running"))
    assert ("does not move the running averages of backbone.norm, by which" in caplog.text) is not passes


@pytest.mark.filterwarnings("ignore:.training_step. returned .None.")
def test_a_skipped_batch_is_no_first_step(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = Prototypical(Unused(), batch_norm="running")
    loss, batches = algorithm.loss, iter(range(9))

    def first_is_nan(batch: Episode) -> TaskOutput:
        output = loss(batch)
        return output._replace(loss=output.loss * torch.nan) if next(batches) == 0 else output

    monkeypatch.setattr(algorithm, "loss", first_is_nan)
    train(algorithm, skip_nonfinite=1)
    warnings = [record.getMessage() for record in caplog.records if "no gradient" in record.getMessage()]
    assert [warning[:28] for warning in warnings] == ["2 of 4 trainable parameters "]


UNUSED = """
    from torch import nn


    class Own(nn.Module):
        num_features, map_shape = 4, (4, 1, 1)

        def __init__(self):
            super().__init__()
            self.used, self.lost = nn.Linear(784, 4), nn.Linear(784, 4)

        def forward(self, x, rows=None):
            return self.used(x.flatten(1))
"""


def test_a_run_names_them(metalearn: Command, environment: dict[str, str], tmp_path: Path, monkeypatch) -> None:
    options, targets = own_backbone(tmp_path, monkeypatch, "unused", UNUSED)
    run = metalearn(*options, small=False, environment={**environment, "METALEARN_TARGETS": targets})
    assert run.code == 0, run.text
    assert "get no gradient from the loss and stay as they are: backbone.lost.weight, backbone.lost.bias" in run.text
