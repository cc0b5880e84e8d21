"""Training batches: their random numbers, their time, and averages that processes share."""

from typing import Any, final

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from metalearn.episodes.loaders import batches_done


@final
class SeededBatches(pl.Callback):
    """Seeds every batch, so that a resumed training draws the numbers of an uninterrupted one.

    The random numbers of a network, e.g. for dropout, are a function of (seed, batch, process).
    """

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        seed = trainer.datamodule.seed  # type: ignore[attr-defined]
        of_batch = np.random.SeedSequence([seed, batches_done(trainer), trainer.global_rank])
        torch.manual_seed(int(of_batch.generate_state(1)[0]))


@final
class AveragedBuffers(pl.Callback):
    """Averages the running averages of all processes, each kept over its own tasks.

    At the end of a batch it would be too late: a moving average of the weights takes them there.
    """

    def on_after_backward(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        buffers: list[Tensor] = [b for b in module.algorithm.buffers() if b.is_floating_point()]  # type: ignore[union-attr]
        if trainer.world_size == 1 or not buffers:
            return
        flat = trainer.strategy.reduce(torch.cat([b.flatten() for b in buffers]), reduce_op="mean")
        for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))


def time_done(trainer: pl.Trainer) -> float:
    """Returns the fraction of the training's time limit that has passed; 0 without a limit.

    All processes must call it, because they share the first process's clock and one learning rate.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
            past = callback.time_elapsed()
            return trainer.strategy.broadcast(past / (past + left))
    return 0.0


def steps_done(trainer: pl.Trainer) -> float:
    """Returns the fraction of the training's steps or epochs, whichever is larger, that is done.

    The fraction is 0 without such a limit.
    """
    of_steps = trainer.global_step / trainer.max_steps if trainer.max_steps > 0 else 0.0
    of_epochs = 0.0
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        of_epochs = batches_done(trainer) / (trainer.max_epochs * trainer.num_training_batches)
    return max(of_steps, of_epochs)
