"""Own algorithms whose predictions depend on other queries are refused unless they say so."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

from metalearn import MLP, ClassBank, EpisodicDataModule, Prototypical, Setting, evaluate
from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.metric import AbstractMetric
from metalearn.training.independence import check_declared
from metalearn.training.module import FewShotModule
from metalearn.types import Episode, Predictor, TaskOutput


class Alone(AbstractMetric):
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return -torch.cdist(query_z, support_z) @ support_y


class Centred(AbstractMetric):
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return -10 * torch.cdist(query_z - query_z.mean(0), support_z - support_z.mean(0)) @ support_y


class Declared(AbstractMetric):
    predicts_jointly = True
    compare = Centred.compare


class Outputs(AbstractAlgorithm):
    """Predicts by a function of the queries."""

    def __init__(self, function: Predictor, problem: str) -> None:
        super().__init__(batch_norm="running", problem=problem)
        self.function = function

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        return self.function

    def loss(self, batch: Episode) -> TaskOutput:
        raise AssertionError


def run(algorithm: AbstractAlgorithm, stage: str = "test") -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(256, size=(5, 4, 1, 4, 4), dtype=np.uint8)
    bank, setting = ClassBank.from_classes(images, list("abcde")), Setting(way=5, shot=1, query=3)
    data = EpisodicDataModule({stage: bank}, {stage: setting}, seed=0, tasks_per_batch=1, num_episodes={stage: 2})
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    module = FewShotModule(algorithm, torch.optim.Adam)
    if stage == "val":
        trainer.validate(module, datamodule=data, verbose=False)
    else:
        evaluate(trainer, module, data)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", [Alone, Declared, Prototypical])
def test_an_algorithm_that_tells_the_truth_is_tested(kind: type, norm: bool) -> None:
    run(kind(MLP([1, 4, 4], hidden=[8], norm=norm), batch_norm="running"))


@pytest.mark.parametrize("stage", ["val", "test"])
def test_a_dependence_that_is_not_declared_is_refused(stage: str) -> None:
    message = "Centred predicts a query differently .*: set predicts_jointly = True in Centred"
    with pytest.raises(ValueError, match=message):
        run(Centred(MLP([1, 4, 4], hidden=[8], norm=False), batch_norm="running"), stage)


@pytest.mark.parametrize("problem", ["classification", "regression"])
@pytest.mark.parametrize(
    ("function", "is_joint"),
    [
        (lambda x: 1e-3 * x, False),
        (lambda x: 1e3 * (x - x.mean(0)), True),
        (lambda x: x + 1e-4 * x.mean(0), False),
        (lambda x: x + torch.randn(len(x), 1) * torch.arange(x.shape[1]), False),
    ],
    ids=["alone", "centred", "rounding", "random"],
)
def test_predictions_are_compared_in_their_unit(function: Predictor, is_joint: bool, problem: str) -> None:
    task = Episode(*(torch.rand(6, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(4)))
    algorithm = Outputs(function, problem)
    if is_joint:
        with pytest.raises(ValueError, match="set predicts_jointly = True in Outputs"):
            check_declared(algorithm, task, is_embedded=False)
    else:
        check_declared(algorithm, task, is_embedded=False)
