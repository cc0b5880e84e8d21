"""The checkpoints of a run: best.ckpt for the test, and last.ckpt for resumption."""

import logging
import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from metalearn.episodes.loaders import AbstractEpisodes, batches_done
from metalearn.estimates import SIGNS
from metalearn.files import write_atomically
from metalearn.run.directory.checkpoint_file import read_checkpoint
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.origin import FACTS, Origin

log = logging.getLogger(__name__)


@final
class Keeper(Checkpoint):
    """Saves last.ckpt at every validation, and best.ckpt at the best meta-val score so far.

    It saves between two steps only, so that a resumed run equals one that was never stopped. The
    best logged score always chooses the tested weights, unless nothing selects: then the last
    weights with a finite loss are tested.

    Args:
        folder: run directory.
        origin: facts of the run, which each checkpoint holds.
        score: name of the score, "accuracy" (largest is best) or "mse" (smallest is best).
        data: episodes of the run, whose meta-val the score is of, and which say whether it selects.
    """

    def __init__(self, folder: RunFolder, origin: Origin, score: str, data: AbstractEpisodes[Any]) -> None:
        self.folder, self.origin, self.score, self.data = folder, origin, score, data
        self.best_score: float | None = None
        self.best_step: int | None = None
        self._is_due = False  # whether last.ckpt is saved at the end of the epoch
        self._stops = False  # whether a time limit or a callback has asked to stop
        self._saved: int | None = None  # batches done in last.ckpt; None: there is none
        self._of_best: dict[str, Any] | None = None  # own state in the best.ckpt that is resumed
        self._resumed: dict[str, Any] | None = None  # facts of the run in the checkpoint that is resumed

    @cached_property
    def meta_val(self) -> str:
        """Hash of the episodes that the score is of."""
        return self.data.episodes_sha256("val", self.data.settings["val"].num_episodes)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[FACTS] = self._facts(trainer)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint[FACTS]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # With other overrides, last.ckpt is saved anew, since it has those of the next resumption.
        if self._resumed == self._facts(trainer):
            self._saved = batches_done(trainer)

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # A test of best.ckpt has the settings of the run's own result, also after a resumption with
        # others. A resumption that is killed before has changed nothing.
        if self._resumed is not None and self.best_step is not None:
            best = read_checkpoint(self.folder.best)
            if best[FACTS] != (facts := self._facts(trainer)):
                trainer.strategy.save_checkpoint({**best, FACTS: facts}, self.folder.best)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Lightning would stop and save at once, but a checkpoint holds no accumulated gradients.
        self._stops |= trainer.should_stop
        step_ends = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        trainer.should_stop = self._stops and step_ends

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        score, loss = (float(trainer.callback_metrics[f"{self.data.val_name}/{name}"]) for name in (self.score, "loss"))
        if not (math.isfinite(score) and math.isfinite(loss)):
            where = "meta-val" if self.data.selects else "classes of the training"
            log.warning("step %d: the loss on %s is %g, so its weights are not kept", trainer.global_step, where, loss)
        elif self._is_better(score):
            self.best_score, self.best_step = score, trainer.global_step
            trainer.save_checkpoint(self.folder.best)
        if trainer.is_last_batch:
            # From a checkpoint inside the epoch, Lightning would train one batch too many.
            self._is_due = True
        else:
            self.save_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self._is_due:
            self._is_due = False
            self.save_last(trainer)

    def save_last(self, trainer: pl.Trainer) -> None:
        """Saves last.ckpt; all processes must call it, between two steps."""
        trainer.save_checkpoint(self.folder.last)
        self._saved = batches_done(trainer)

    def save_new(self, trainer: pl.Trainer) -> None:
        """Saves last.ckpt before a batch, unless it has all batches that are done.

        Lightning counts the steps of its logs on after a validation, and once more where a
        checkpoint of that moment is resumed.
        """
        if self._saved != batches_done(trainer):
            self.save_last(trainer)

    def resume(self, best: dict[str, Any]) -> None:
        """Takes the state in best.ckpt, which a kill or a full disk leaves newer than last.ckpt."""
        self._of_best = best["callbacks"][self.state_key]

    def check_episodes(self, state_dict: dict[str, Any]) -> None:
        """Raises ValueError if the best score of a checkpoint is of other meta-val episodes."""
        if state_dict["meta_val"] != self.meta_val:
            path = self.folder.path
            remedy = f"keep dataset, train_split and episode.val, or begin anew with pretrained={path}"
            raise ValueError(f"{path} chose its best weights on other meta-val episodes: {remedy}")

    def _facts(self, trainer: pl.Trainer) -> dict[str, Any]:
        return replace(self.origin, devices=trainer.world_size).facts()

    def _is_better(self, score: float) -> bool:
        if self.best_score is None or not self.data.selects:
            return True
        sign = SIGNS[self.score]
        return sign * score > sign * self.best_score

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_step": self.best_step, "meta_val": self.meta_val}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = self._of_best or state_dict
        self.best_score, self.best_step = state["best_score"], state["best_step"]


@final
class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint next to its target and then renames it, so that the old one stays intact.

    Lightning writes through the directory of temporary files. On a cluster that is another file
    system, and a killed process leaves half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda file: torch.save(checkpoint, file))
