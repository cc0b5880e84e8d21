"""Callbacks of the training: its random numbers, averages, end, seconds, gradients and losses."""

import logging
import shlex
import time
from collections.abc import Sequence
from typing import Any, final

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
from torch import Tensor

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.norm import BatchNorm
from metalearn.episodes.loaders import batches_done

log = logging.getLogger(__name__)


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


@final
class ValidateAtEnd(pl.Callback):
    """Validates after the last step too, so that the last weights can be the best ones."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.global_step == trainer.max_steps or (trainer.is_last_batch and last_epoch):
            trainer.should_stop = True  # Lightning validates when asked to stop


@final
class StaysStopped(pl.Callback):
    """Keeps a resumed training from continuing where early stopping has ended it."""

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
                trainer.should_stop = True
                log.warning("early stopping has ended this training; to train further without it: callbacks=default")


@final
class Clock(pl.Callback):
    """Logs the seconds of training with every validation, as "val/seconds".

    A resumed run continues the count.
    """

    def __init__(self) -> None:
        self._seconds_before = 0.0
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        return self._seconds_before + (0.0 if self._began is None else time.monotonic() - self._began)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._began = time.monotonic()

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._seconds_before, self._began = self.seconds, None

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        module.log("val/seconds", self.seconds, rank_zero_only=True)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before = state_dict["seconds"]


@final
class FirstStep(pl.Callback):
    """Warns at the first step of trainable weights and of averages that the loss leaves unchanged.

    An evaluation with `batch_norm=running` normalises by these averages; a loss moves them if it
    passes `rows`.
    """

    def __init__(self) -> None:
        self._looked = False
        self._averages: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        algorithm: AbstractAlgorithm = module.algorithm  # type: ignore[assignment]
        if algorithm.batch_norm == "running" and not algorithm.takes_gradients:  # MAML++ has averages for each step
            norms = {name: part for name, part in module.named_modules() if isinstance(part, BatchNorm)}
            self._averages = {name: norm.running_var.clone() for name, norm in norms.items() if not norm.fixed}

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, _: Any) -> None:
        if self._looked:
            return
        trained = [(name, weight) for name, weight in module.named_parameters() if weight.requires_grad]
        if all(weight.grad is None for _, weight in trained):  # after a skipped batch
            return
        self._looked = True
        if left := [name.removeprefix("algorithm.") for name, weight in trained if weight.grad is None]:
            log.warning(
                "%d of %d trainable parameters get no gradient from the loss and stay as they are: %s",
                *(len(left), len(trained), ", ".join(left)),
            )
        kept = [n for n, var in self._averages.items() if torch.equal(module.get_buffer(f"{n}.running_var"), var)]
        if kept:
            log.warning(
                "the loss does not move the running averages of %s, by which an evaluation normalises: pass "
                "self.rows(...) to the backbone, and its `rows` to each BatchNorm (docs/extending.md)",
                ", ".join(name.removeprefix("algorithm.") for name in kept),
            )


class NonFiniteLoss(Exception):
    """Loss that is NaN or infinite; the message gives its place in one line."""


@final
class FiniteLoss(pl.Callback):
    """Stops a training at the first loss that is not finite, and names the batch.

    On an accelerator, the losses are checked every `log_every_n_steps` batches, and before each
    validation and checkpoint. Checking every loss would wait for the device.

    Args:
        resume: command that resumes the run, and so trains on the same batch again.
    """

    def __init__(self, resume: Sequence[str]) -> None:
        self._resume = resume
        self._pending: list[tuple[int, int, Tensor]] = []  # batch number, steps done, loss

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if outputs:  # empty where the batch was skipped
            self._pending.append((batches_done(trainer) - 1, trainer.global_step, outputs["loss"].detach()))
        if module.device.type == "cpu" or len(self._pending) >= trainer.log_every_n_steps:  # type: ignore[attr-defined]
            self._look(trainer)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._look(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, *_: Any) -> None:
        self._look(trainer)

    def _look(self, trainer: pl.Trainer) -> None:
        pending, self._pending = self._pending, []
        if not pending or bool(torch.stack([loss for *_, loss in pending]).isfinite().all()):
            return
        number, step, loss = next(batch for batch in pending if not batch[2].isfinite())
        tasks = trainer.datamodule.tasks_per_batch  # type: ignore[attr-defined]
        first = (number * trainer.world_size + trainer.global_rank) * tasks
        units = "episodes" if trainer.datamodule.batch_size is None else "batches"  # type: ignore[attr-defined]
        command = shlex.join([*self._resume, "+trainer.detect_anomaly=true"])
        raise NonFiniteLoss(
            f"the training loss is {float(loss)} at step {step}, in batch {number} (training {units} {first} to "
            f"{first + tasks - 1}); to repeat the batch and locate the fault: {command}; "
            "to skip such batches: trainer.skip_nonfinite=N"
        )
