"""The one LightningModule: it optimises an algorithm's loss and evaluates what the algorithm adapts to."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import CatMetric

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.gradient import AbstractGradient
from metalearn.algorithms.mann import INSTANCES, MANN
from metalearn.losses import accuracy, cross_entropy
from metalearn.schedules import Schedule, constant
from metalearn.stats import estimate
from metalearn.types import Episode, Split

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class FewShotModule(pl.LightningModule):
    """Training pays `algorithm.loss(batch)`; evaluation scores `algorithm.adapt(support)(query)` of every episode.

    After an evaluation, `scores[split]` holds for each of its E episodes, in the order of their index whatever the
    number of processes: "accuracy" and "loss" (E,); after a test also "accuracy_by_step" (E, steps + 1) of the
    gradient family, and "accuracy_by_instance" (E, 4) of a memory network.
    """

    def __init__(
        self, algorithm: AbstractAlgorithm, optimizer: OptimizerFactory, schedule: Schedule = constant
    ) -> None:
        super().__init__()
        self.algorithm, self.optimizer, self.schedule = algorithm, optimizer, schedule
        self.scores: dict[Split, dict[str, np.ndarray]] = {}
        # Rows of the index of an episode and its scores, one behind the other; float64 keeps a large index whole.
        self._scored = CatMetric(nan_strategy="disable").set_dtype(torch.float64)
        self._widths: dict[str, int] = {}  # of each score in such a row

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer()
        if self.schedule is constant:
            return optimizer
        scheduler = LambdaLR(optimizer, lambda _: self.schedule(self.done()))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def make_optimizer(self) -> torch.optim.Optimizer:
        return self.optimizer(p for p in self.algorithm.parameters() if p.requires_grad)

    def done(self) -> float:
        """The fraction of the training that is done: of its steps or of its time, whichever is further."""
        trainer = self.trainer
        fractions = [trainer.global_step / trainer.max_steps] if trainer.max_steps > 0 else []
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
                past = callback.time_elapsed()
                fractions.append(past / (past + left))
        return min(max(fractions, default=0.0), 1.0)

    def training_step(self, batch: Episode, batch_idx: int) -> STEP_OUTPUT:
        self.algorithm.done = self.done()
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
            scores = self._scores(task)
            self._widths = {name: score.numel() for name, score in scores.items()}
            row = torch.cat([score.reshape(-1).double() for score in scores.values()])
            self._scored.update(torch.cat([row.new_tensor([index]), row])[None])

    def _scores(self, task: Episode) -> dict[str, Tensor]:
        """The scores of one episode: numbers, and at the test curves."""
        testing, algorithm = self.trainer.testing, self.algorithm
        if testing and isinstance(algorithm, AbstractGradient):
            predictors = algorithm.adapt_by_steps(task.support_x, task.support_y)
        else:
            predictors = [algorithm.adapt(task.support_x, task.support_y)]
        by_step = [predict(task.query_x) for predict in predictors]  # of (Q, N)
        accuracies = torch.stack([accuracy(logits, task.query_y) for logits in by_step])  # (inner steps + 1,)
        scores = {"loss": cross_entropy(by_step[-1], task.query_y), "accuracy": accuracies[-1]}
        if testing and isinstance(algorithm, AbstractGradient):
            scores["accuracy_by_step"] = accuracies
        if testing and isinstance(algorithm, MANN):
            scores["accuracy_by_instance"] = algorithm.instance_accuracy(task)
        return scores

    def _collect(self, split: Split) -> None:
        rows = self._scored.compute().cpu().numpy()  # (E, 1 + all widths), of all processes
        self._scored.reset()
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        columns = np.split(rows[:, 1:], np.cumsum(list(self._widths.values()))[:-1], axis=1)
        scores = dict(zip(self._widths, columns, strict=True))
        self.scores[split] = {**scores, "loss": scores["loss"][:, 0], "accuracy": scores["accuracy"][:, 0]}
        for name in ("accuracy", "loss"):
            # The same number on every process: no reduction, but all of them must see it to agree on the best step.
            self.log(f"{split}/{name}", float(self.scores[split][name].mean()))
        self.log(f"{split}/accuracy_ci95", estimate(self.scores[split]["accuracy"]).ci95, rank_zero_only=True)
        for step, mean in enumerate(scores.get("accuracy_by_step", rows[:, :0]).mean(0)):
            self.log(f"{split}/accuracy_step_{step}", float(mean), rank_zero_only=True)
        for instance, column in zip(INSTANCES, scores.get("accuracy_by_instance", rows[:, :0]).T, strict=False):
            self.log(f"{split}/accuracy_instance_{instance}", mean_of_known(column), rank_zero_only=True)

    def _average_buffers(self) -> None:
        """Give all processes the same running averages: the mean of those that each kept over its own tasks."""
        if self.trainer.world_size == 1:
            return
        buffers: list[Tensor] = [b for b in self.algorithm.buffers() if b.is_floating_point()]
        if buffers:
            flat = self.trainer.strategy.reduce(torch.cat([b.flatten() for b in buffers]), reduce_op="mean")
            for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(mean.view_as(buffer))


def mean_of_known(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
