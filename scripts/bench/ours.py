"""The sides of metalearn."""

import dataclasses
import logging
import warnings
from collections.abc import Callable

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from works import INNER_LR, QUERY, SHOT, WAY, Step

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.gradient import AbstractGradient, InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.conv4 import Conv4
from metalearn.backbones.resnet12 import ResNet12
from metalearn.data.bank import ClassBank
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.setting import Setting
from metalearn.run.process.machine import quieten_lightning
from metalearn.training.module import FewShotModule
from metalearn.training.replay import ReplayedLoss
from metalearn.types import Episode


def step(work: Step) -> tuple[AbstractAlgorithm, Callable[[Episode], Tensor]]:
    torch.manual_seed(0)
    shape = work.input_shape
    backbone = Conv4(shape) if work.backbone == "conv4" else ResNet12(shape, drop_rate=0.0)  # no random drops
    algorithm: AbstractAlgorithm
    if work.inner_steps == 0:
        algorithm = Prototypical(backbone, batch_norm="running")
    else:
        loop = InnerLoop(steps=work.inner_steps, test_steps=work.inner_steps)
        algorithm = MAML(backbone, way=work.way, inner_lr=INNER_LR, inner_loop=loop, batch_norm="batch")
    return algorithm, lambda batch: algorithm.loss(batch).loss


def step_compiled(work: Step) -> tuple[AbstractAlgorithm, Callable[[Episode], Tensor]]:
    """Builds a step as by `algorithm.execution.compile=true`."""
    return _step_by(work, compile=True)


def step_by_vmap(work: Step) -> tuple[AbstractAlgorithm, Callable[[Episode], Tensor]]:
    """Builds a step as by `algorithm.execution.vmap=true`."""
    return _step_by(work, vmap=True)


def step_in_turn(work: Step) -> tuple[AbstractAlgorithm, Callable[[Episode], Tensor]]:
    """Builds a step without threads, as by `algorithm.execution.vmap=false`."""
    return _step_by(work, vmap=False)


def _step_by(work: Step, **execution: bool) -> tuple[AbstractAlgorithm, Callable[[Episode], Tensor]]:
    algorithm, loss_of = step(work)
    assert isinstance(algorithm, AbstractGradient)
    algorithm.execution = dataclasses.replace(algorithm.execution, **execution)
    return algorithm, loss_of


def step_in_bf16(work: Step) -> tuple[nn.Module, Callable[[Episode], Tensor]]:
    """Builds a step as by `trainer.precision=bf16-mixed`."""
    return in_bf16(*step(work))


def step_replayed(work: Step) -> tuple[AbstractAlgorithm, Callable[[Episode], Tensor]]:
    """Builds a step as by `trainer.cuda_graph=true`, the default on a GPU."""
    algorithm, _ = step(work)
    replayed = ReplayedLoss(algorithm)
    return algorithm, lambda batch: replayed(batch).loss


def step_replayed_in_bf16(work: Step) -> tuple[nn.Module, Callable[[Episode], Tensor]]:
    """Builds a step as by `trainer.precision=bf16-mixed` on a GPU."""
    return in_bf16(*step_replayed(work))


def in_bf16(module: nn.Module, loss_of: Callable[[Episode], Tensor]) -> tuple[nn.Module, Callable[[Episode], Tensor]]:
    """Computes a side under autocast to bfloat16."""

    def loss_in_bf16(batch: Episode) -> Tensor:
        with torch.autocast(batch.query_x.device.type, torch.bfloat16):
            return loss_of(batch)

    return module, loss_in_bf16


def data(images: ClassBank, episodes: int) -> EpisodicDataModule:
    setting = {"test": Setting(WAY, SHOT, QUERY, num_episodes=episodes)}
    return EpisodicDataModule({"test": images}, setting, seed=0, tasks_per_batch=1)


def data_of(work: Step, images: ClassBank) -> EpisodicDataModule:
    """Builds the data module that draws the batches of a step in training."""
    setting = {"train": Setting(work.way, work.shot, work.query)}
    return EpisodicDataModule({"train": images}, setting, seed=0, tasks_per_batch=work.tasks)


def evaluation(images: ClassBank, episodes: int, device: str) -> Callable[[], float]:
    quieten_lightning()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    module = FewShotModule(Prototypical(Conv4([1, 28, 28]), batch_norm="running"), torch.optim.Adam)
    trainer = pl.Trainer(
        accelerator=device,
        inference_mode=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )

    def accuracy() -> float:
        trainer.test(module, datamodule=data(images, episodes), verbose=False)
        return float(module.scores["test"]["accuracy"].mean())

    return accuracy
