"""Training steps replayed as CUDA graphs."""

import logging
from typing import Any, final

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.parts.backward import autocast_without_cache
from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.types import Episode, TaskOutput

log = logging.getLogger(__name__)


class ReplayedLoss:
    """Computes the loss of batches of one shape by two CUDA graphs, of the loss and its gradient.

    A small network leaves a GPU idle while Python launches its kernels one by one. The first batch
    records them, and every batch replays them at once.

    Args:
        algorithm: algorithm whose `loss` is replayable.
    """

    def __init__(self, algorithm: AbstractAlgorithm) -> None:
        self.algorithm = algorithm
        self._replay: nn.Module | None = None

    def __call__(self, batch: Episode) -> TaskOutput:
        if self._replay is None:
            self._replay = self._record(batch)
        loss, *logits = self._replay(*batch)
        # The next replay overwrites the results in place, and a logger may read the loss later.
        return TaskOutput(loss.clone(), *logits)

    def _record(self, batch: Episode) -> nn.Module:
        device = batch.query_x.device
        buffers = [buffer.clone() for buffer in self.algorithm.buffers()]
        # torch warns of gradients that are recorded on one stream and added up on another, as is
        # intended here.
        if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):  # torch 2.10
            torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        # Recording begins with three steps whose only purpose is to warm up: they must leave no
        # trace in the running averages and the random numbers.
        with torch.random.fork_rng(devices=[device]), autocast_without_cache(device.type):
            replay = torch.cuda.make_graphed_callables(
                _Loss(self.algorithm), tuple(part.contiguous().clone() for part in batch), allow_unused_input=True
            )
        with torch.no_grad():
            for buffer, before in zip(self.algorithm.buffers(), buffers, strict=True):
                buffer.copy_(before)
        return replay  # type: ignore[return-value]


class _Loss(nn.Module):
    """The loss as a module, from which the recorder takes the weights."""

    def __init__(self, algorithm: AbstractAlgorithm) -> None:
        super().__init__()
        self.algorithm = algorithm

    def forward(self, *parts: Tensor) -> tuple[Tensor, ...]:
        loss, logits = self.algorithm.loss(Episode(*parts))
        return (loss,) if logits is None else (loss, logits)


@final
class ReplayedSteps(pl.Callback):
    """Replays the steps of a training as CUDA graphs, unless `why_not_replayed` has a reason."""

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        algorithm: AbstractAlgorithm = module.algorithm  # type: ignore[assignment]
        reason = why_not_replayed(algorithm, trainer, trainer.datamodule)  # type: ignore[attr-defined]
        if reason is None:
            module.loss = ReplayedLoss(algorithm)  # type: ignore[assignment]
        else:
            log.info("training steps do not use CUDA graphs: %s", reason)

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        module.loss = module.algorithm.loss  # type: ignore[union-attr]  # frees the memory of the graphs


def why_not_replayed(algorithm: AbstractAlgorithm, trainer: pl.Trainer, data: AbstractEpisodes[Any]) -> str | None:
    """Returns the reason why a training cannot replay its steps; None if it can."""
    device, one_shape = trainer.strategy.root_device, data.settings["train"].has_one_shape
    reasons = {
        f"it needs a CUDA device, and the run is on {device.type}": device.type != "cuda",
        f"it needs one device, and the run has {trainer.world_size}": trainer.world_size > 1,
        f"{type(algorithm).__name__} does not promise that its steps are alike": not algorithm.replayable,
        "the shapes of the training episodes vary": data.batch_size is None and not one_shape,
        "the search for anomalies looks at every value": trainer._detect_anomaly,
        "accumulated gradients would be overwritten by a replay": trainer.accumulate_grad_batches > 1,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
