"""The one LightningModule: it optimises an algorithm's loss and evaluates its predictions."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

import metalearn
from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.metric import AbstractEmbedding, embeds_each_alone
from metalearn.backbones.fingerprint import fingerprint
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.fetching import intensities
from metalearn.stats import estimate
from metalearn.training import measures, predictions, schedules
from metalearn.training.calibration import TEMPERED, CalibrationError, best_temperature
from metalearn.training.callbacks import AveragedBuffers, SeededBatches
from metalearn.training.cost import Cost
from metalearn.training.groups import groups_of
from metalearn.training.own_parts import DeclaredDependence, check_output
from metalearn.training.scores import ScoreTable, best_candidate, curves
from metalearn.types import Episode, IndexedBatch, Split, TaskOutput

log = logging.getLogger(__name__)

OptimizerFactory = Callable[[Iterable[nn.Parameter] | Iterable[dict[str, Any]]], torch.optim.Optimizer]


class FewShotModule(pl.LightningModule):
    """Trains on `algorithm.loss(batch)`; scores `algorithm.adapt(support)(query)` in evaluation.

    After an evaluation, `scores[split]` has an array for each score, ordered by episode: "loss" and
    "accuracy", or "mse" for regression, (E,). A test adds "accuracy_by_step" (E, steps + 1) for the
    gradient family and "accuracy_by_instance" (E, 4) for a memory network.

    Args:
        algorithm: algorithm to train.
        optimizer: function of the trained parameters that builds the optimizer.
        scheduler: factor of the learning rate; None: constant.
        backbone_lr: learning rate of the backbone; None: that of the other weights.
        skip_nonfinite: number of batches with a non-finite loss to skip before failing.

    Examples:
        >>> from metalearn import MLP, Prototypical
        >>> algorithm = Prototypical(MLP([4]), batch_norm="running")
        >>> module = FewShotModule(algorithm, lambda weights: torch.optim.Adam(weights, lr=1e-3))
        >>> module.dependence.transductive  # whether a prediction depends on other queries
        False
    """

    def __init__(
        self,
        algorithm: AbstractAlgorithm,
        optimizer: OptimizerFactory,
        scheduler: schedules.Schedule | schedules.SchedulerFactory | None = None,
        *,
        backbone_lr: float | None = None,
        skip_nonfinite: int = 0,
    ) -> None:
        super().__init__()
        self.backbone_lr = backbone_lr
        self.loss: Callable[[Episode], TaskOutput] = algorithm.loss  # ReplayedSteps replaces it
        self.skip_nonfinite, self.num_skipped = skip_nonfinite, 0  # batches with a non-finite loss
        self.algorithm, self.optimizer, self.scheduler = algorithm, optimizer, scheduler or schedules.Constant()
        self.dependence = algorithm.dependence()  # raises where `batch_norm` cannot hold
        self.scores: dict[Split, dict[str, np.ndarray]] = {}
        self._time_done = 0.0  # fraction of the time limit
        self._validated: bool | None = None  # whether the last step was validated; None: there was no step
        self.temperature: float | None = None  # best divisor of the logits in the last validation
        self.calibration_error: float | None = None  # last test's error, for classification
        self.cost = Cost(torch.device("cpu"))  # seconds of the episodes of the last test
        self._points: dict[str, list[int]] = {}  # points of the curves, if not 0, 1, 2, ...
        self._calibration = CalibrationError()  # it takes the largest probability, for any way

    def setup(self, stage: str) -> None:
        self._table = ScoreTable()  # an evaluation that was interrupted has left rows in the last one
        data, device = self.trainer.datamodule, self.trainer.strategy.root_device  # type: ignore[attr-defined]
        algorithm, embed, weights = self.algorithm, None, None
        self.loss = algorithm.loss  # an interrupted training may have left another
        if isinstance(data, EpisodicDataModule):
            if embeds_each_alone(algorithm):
                embed = partial(self._embed_by, algorithm.embed_each)
                weights = partial(self._fingerprint, algorithm)
            data.evaluate_embeddings(embed, weights)
        self.evaluates_embeddings = embed is not None
        self._adapts_together = self.algorithm.adapts_together(device, vectors=data.has_vectors)
        data.evaluates_together = self._adapts_together or (stage != "test" and self.algorithm.shares_tasks(device))

    def configure_callbacks(self) -> list[pl.Callback]:
        return [SeededBatches(), AveragedBuffers(), DeclaredDependence()]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return schedules.lightning_config(self.scheduler, self.make_optimizer(), self.done)

    def make_optimizer(self) -> torch.optim.Optimizer:
        if self.backbone_lr is None:
            return self.optimizer(p for p in self.algorithm.parameters() if p.requires_grad)
        return self.optimizer(groups_of(self.algorithm, self.backbone_lr))

    def done(self) -> float:
        """Returns the largest fraction done of the limits on steps, epochs and time, 0 to 1."""
        return min(max(schedules.steps_done(self.trainer), self._time_done), 1.0)

    def on_fit_start(self) -> None:
        self._validated = None
        self.train()  # Lightning changes no mode, and libraries load networks in either

    def on_train_start(self) -> None:
        # The first rate of a training is exact.
        self._time_done = schedules.time_done(self.trainer) if self.trainer.global_step else 0.0
        schedules.set_rates(self.scheduler, self.trainer.optimizers[0], self.done())

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._time_done = schedules.time_done(self.trainer)

    def training_step(self, batch: Episode, batch_idx: int) -> STEP_OUTPUT:
        self.algorithm.done, self._validated = self.done(), False
        may_skip = self.num_skipped < self.skip_nonfinite
        buffers = [buffer.clone() for buffer in self.algorithm.buffers()] if may_skip else []
        output = self.loss(batch)
        check_output(self.algorithm, output, batch)
        if may_skip and not bool(output.loss.isfinite()):
            self.num_skipped += 1
            for buffer, before in zip(self.algorithm.buffers(), buffers, strict=True):
                buffer.copy_(before)
            self.trainer.datamodule.skip()  # type: ignore[attr-defined]
            log.warning("skipped a batch after step %d: its loss is %g", self.trainer.global_step, output.loss.detach())
            return None
        self.trainer.datamodule.observe(output.logits, batch.query_y)  # type: ignore[attr-defined]
        self.log("step", float(self.trainer.global_step + 1))  # x-axis of the loggers: steps done
        self.log("train/loss", output.loss.detach())
        if output.logits is not None:
            objective = self.algorithm.objective
            self.log(f"train/{objective.score_name}", objective.score(output.logits.detach(), batch.query_y).mean())
        return output.loss

    def on_validation_start(self) -> None:
        if (base := self.algorithm.base) is not None:
            embedded = self.trainer.datamodule.embedded_base_classes  # type: ignore[attr-defined]
            embed = partial(self._embed_by, self.algorithm.embed_together)  # type: ignore[arg-type]
            base.fit(embedded(embed, base.per_class))

    def on_test_start(self) -> None:
        if (base := self.algorithm.base) is not None and (self._validated is False or not base.is_fitted):
            self.on_validation_start()
        self._calibration.reset()
        self._calibration.set_dtype(torch.float64)  # trainer.precision=bf16-true has converted it
        self.cost = Cost(self.device)

    def on_validation_end(self) -> None:
        if self.evaluates_embeddings:
            self.trainer.datamodule.forget_embeddings()  # type: ignore[attr-defined]

    on_test_end = on_validation_end

    def validation_step(self, batch: IndexedBatch, batch_idx: int) -> None:
        self._table.add(batch.indices, self._scores(batch.episodes))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self._collect("val")
        plateau = self.lr_schedulers() if self.trainer.state.fn == TrainerFn.FITTING else None
        if isinstance(plateau, ReduceLROnPlateau) and not self.trainer.sanity_checking:
            plateau.step(float(self.scores["val"]["loss"].mean()))

    def on_test_epoch_end(self) -> None:
        self._collect("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._validated and self.trainer.datamodule.selects:  # type: ignore[attr-defined]
            names = (self.algorithm.objective.score_name, "loss")
            checkpoint["val"] = {name: estimate(self.scores["val"][name])._asdict() for name in names}
            checkpoint["temperature"] = self.temperature
        checkpoint["skipped_batches"] = self.num_skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.num_skipped = checkpoint["skipped_batches"]

    def _fingerprint(self, algorithm: AbstractEmbedding) -> str:
        """Hashes all that an embedding depends on beside the image."""
        how = (metalearn.__version__, str(self.trainer.precision), self.device.type)
        return fingerprint(algorithm.backbone, type(algorithm).embed_each.__qualname__, *how)

    def _embed_by(self, embed: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        precision = self.trainer.precision_plugin
        with precision.forward_context():
            return embed(precision.convert_input(intensities(images.to(self.device))))

    def _scores(self, batch: Episode) -> dict[str, Tensor]:
        """Scores T episodes: numbers (T,), and curves (T, K); in a validation, by candidate."""
        predicted = self._predict(batch)  # each (T, Q, N)
        if not self.trainer.testing:
            return measures.of_validation(self.algorithm, predicted, batch.query_y)
        if self.algorithm.problem == "classification":
            confidence = predicted[-1].double().softmax(-1).amax(-1)  # (T, Q)
            right = predicted[-1].argmax(-1) == batch.query_y.argmax(-1)  # (T, Q)
            self._calibration.update(confidence.nan_to_num(0.0), right)  # NaN is no confidence
        return measures.of_test(self.algorithm, predicted, batch.query_y) | self._curves(batch)

    def _predict(self, batch: Episode) -> list[Tensor]:
        """Predicts (T, Q, N) for each stage in a test, and for each candidate in validation."""
        testing = self.trainer.testing
        # A validation drops its cost, and by the clock of the CPU it waits for no GPU.
        how = (self.algorithm, batch, self.cost if testing else Cost(torch.device("cpu")))
        if self.evaluates_embeddings:
            return predictions.of_embeddings(*how)
        if self._adapts_together:
            return predictions.of_tasks_together(*how, stages=testing)
        return predictions.of_tasks_in_turn(*how, stages=testing)

    def _curves(self, batch: Episode) -> dict[str, Tensor]:
        """Computes the algorithm's own curves, (T, K) each."""
        of_tasks = [self.algorithm.curves(task) for task in batch.tasks()]
        self._points = {name: list(curve) for name, curve in of_tasks[0].items()}
        return {name: torch.stack([torch.stack([*task[name].values()]) for task in of_tasks]) for name in self._points}

    def _collect(self, split: Split) -> None:
        scores, score_name = self._table.collect(), self.algorithm.objective.score_name
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if split == "val":
            self._validated = True
            best, scores = best_candidate(scores, score_name)
            self.algorithm.choose(best)
            if TEMPERED in scores:
                self.temperature = best_temperature(scores.pop(TEMPERED))
        self.scores[split] = scores
        name_of_split = {"val": data.val_name, "test": data.test_name}[split]
        self.log("step", float(self.trainer.global_step))
        for name in (score_name, "loss"):
            # All processes log these equal numbers, because they must agree on the best step.
            self.log(f"{name_of_split}/{name}", float(scores[name].mean()))
        self.log(f"{name_of_split}/{score_name}_ci95", estimate(scores[score_name]).ci95, rank_zero_only=True)
        for name, means in curves(scores).items():
            base, _, along = name.partition("_by_")
            points = self._points.get(name, range(len(means)))
            for point, mean in zip(points, means, strict=True):
                self.log(f"{name_of_split}/{base}_{along}_{point}", mean, rank_zero_only=True)
        if split == "test" and self.algorithm.problem == "classification":
            self.calibration_error = float(self._calibration.compute())
            self.log(f"{name_of_split}/calibration_error", self.calibration_error, rank_zero_only=True)
