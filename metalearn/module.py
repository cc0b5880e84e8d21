"""The one LightningModule: it optimises an algorithm's loss and evaluates what the algorithm adapts to."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torchmetrics import CatMetric

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.gradient import AbstractGradient
from metalearn.losses import accuracy, cross_entropy
from metalearn.stats import estimate
from metalearn.types import Episode, Split

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class FewShotModule(pl.LightningModule):
    """Training pays `algorithm.loss(batch)`; evaluation scores `algorithm.adapt(support)(query)` of every episode.

    After an evaluation, `scores[split]` holds for each of its E episodes, in the order of their index whatever the
    number of processes: "accuracy" and "loss" (E,), and after a test of the gradient family "accuracy_by_step"
    (E, steps + 1).
    """

    def __init__(self, algorithm: AbstractAlgorithm, optimizer: OptimizerFactory) -> None:
        super().__init__()
        self.algorithm, self.optimizer = algorithm, optimizer
        self.scores: dict[Split, dict[str, np.ndarray]] = {}
        # Rows of (index, loss, accuracy after each inner step); float64 keeps a large index whole.
        self._scored = CatMetric(nan_strategy="disable").set_dtype(torch.float64)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(p for p in self.algorithm.parameters() if p.requires_grad)

    def training_step(self, batch: Episode, batch_idx: int) -> STEP_OUTPUT:
        output = self.algorithm.loss(batch)
        self.log("train/loss", output.loss.detach())
        if output.logits is not None:
            self.log("train/accuracy", accuracy(output.logits.detach(), batch.query_y).mean())
        return output.loss

    def on_train_batch_end(self, outputs: STEP_OUTPUT, batch: Any, batch_idx: int) -> None:
        self._average_buffers()

    def validation_step(self, batch: Episode, batch_idx: int) -> None:
        self._score(batch, batch_idx)

    def test_step(self, batch: Episode, batch_idx: int) -> None:
        self._score(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._collect("val")

    def on_test_epoch_end(self) -> None:
        self._collect("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "val" in self.scores:
            checkpoint["val"] = {name: estimate(self.scores["val"][name])._asdict() for name in ("accuracy", "loss")}

    def _score(self, batch: Episode, batch_idx: int) -> None:
        index = batch_idx * self.trainer.world_size + self.trainer.global_rank
        for task in batch.tasks():
            if self.trainer.testing and isinstance(self.algorithm, AbstractGradient):
                predictors = self.algorithm.adapt_by_steps(task.support_x, task.support_y)
            else:
                predictors = [self.algorithm.adapt(task.support_x, task.support_y)]
            by_step = [predict(task.query_x) for predict in predictors]  # of (Q, N)
            accuracies = torch.stack([accuracy(logits, task.query_y) for logits in by_step])  # (inner steps + 1,)
            loss = cross_entropy(by_step[-1], task.query_y)
            scores = torch.cat([loss[None], accuracies]).double()
            self._scored.update(torch.cat([scores.new_tensor([index]), scores])[None])

    def _collect(self, split: Split) -> None:
        rows = self._scored.compute().cpu().numpy()  # (E, 2 + inner steps + 1), of all processes
        self._scored.reset()
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        self.scores[split] = {"accuracy": rows[:, -1], "loss": rows[:, 1]}
        if rows.shape[1] > 3:
            self.scores[split]["accuracy_by_step"] = rows[:, 2:]
            for step, mean in enumerate(rows[:, 2:].mean(0)):
                self.log(f"{split}/accuracy_step_{step}", float(mean), rank_zero_only=True)
        for name in ("accuracy", "loss"):
            # The same number on every process: no reduction, but all of them must see it to agree on the best step.
            self.log(f"{split}/{name}", float(self.scores[split][name].mean()))
        self.log(f"{split}/accuracy_ci95", estimate(rows[:, -1]).ci95, rank_zero_only=True)

    def _average_buffers(self) -> None:
        """Give all processes the same running averages: the mean of those that each kept over its own tasks."""
        if self.trainer.world_size == 1:
            return
        buffers: list[Tensor] = [b for b in self.algorithm.buffers() if b.is_floating_point()]
        if buffers:
            flat = self.trainer.strategy.reduce(torch.cat([b.flatten() for b in buffers]), reduce_op="mean")
            for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(mean.view_as(buffer))
