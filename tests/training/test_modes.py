"""In a training, a frozen network is in evaluation and all else in training."""

from collections import Counter
from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metalearn import ClassBank, EpisodicDataModule, FewShotModule, Prototypical, Setting
from metalearn.backbones.pretrained import AbstractPretrained, Input, Preprocessing

LIKE_OURS = Input((8, 8), mean=[0.0] * 3, std=[1.0] * 3)


class Watched(AbstractPretrained):
    """Network with dropout, which counts its passes by (training of the model, its own mode)."""

    def __init__(self, *, freeze: bool, loaded_in_training: bool) -> None:
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5)).train(loaded_in_training)
        more = {"num_features": 4, "freeze": freeze, "projection": 2, "pretrained_on": "unknown"}
        super().__init__(network, Preprocessing((1, 8, 8), LIKE_OURS), **more)
        self.modes: Counter[tuple[bool, bool]] = Counter()

    def features(self, x: Tensor) -> Tensor:
        self.modes[self.training, self.network[1].training] += 1
        return self.network(x).mean((2, 3))


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # the frozen network, as Lightning says
@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("loaded_in_training", [True, False])
def test_a_training_sets_the_modes(freeze: bool, loaded_in_training: bool) -> None:
    images = np.random.default_rng(0).integers(256, size=(5, 4, 1, 8, 8), dtype=np.uint8)
    bank, setting = ClassBank.from_classes(images, list("abcde")), Setting(way=5, shot=1, query=3, num_episodes=2)
    banks = {"train": bank, "val": bank}
    settings = dict.fromkeys(banks, setting)
    data = EpisodicDataModule(banks, settings, seed=0, tasks_per_batch=1)
    backbone = Watched(freeze=freeze, loaded_in_training=loaded_in_training)
    module = FewShotModule(Prototypical(backbone, batch_norm="running").eval(), partial(torch.optim.Adam, lr=1e-3))
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    pl.Trainer(accelerator="cpu", max_steps=4, val_check_interval=2, **quiet).fit(module, datamodule=data)
    assert backbone.modes.pop((False, False)) > 0  # the validations
    assert set(backbone.modes) == {(True, not freeze)}
