"""Checks of callbacks: those that a run cannot use, and scores that are watched the wrong way."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from metalearn.estimates import SIGNS

UNUSABLE = {
    "WeightAveraging": "averages weights that are not those of the validation: use callbacks=ema",
    "GradientAccumulationScheduler": "accumulates otherwise after a resumption: use trainer.accumulate_grad_batches",
    "LearningRateFinder": "needs a loader of its own: search optimizer.lr with hydra/sweeper=optuna",
    "BatchSizeFinder": "changes the episodes of a step: choose tasks_per_batch",
    "BackboneFinetuning": "changes the optimizer: use optimizer.backbone_lr or backbone.freeze",
    "ModelPruning": "leaves weights of other names, which no test loads",
}
"""Ends of the names of Lightning's callbacks that a run cannot use, with the reason."""


def check_callbacks(callbacks: dict[str, Any], precision: Any, score: str) -> None:
    """Raises ValueError for callbacks that a run cannot use, or that watch a score the wrong way.

    `score` is the name of the run's score. A validation puts our average into the module, which may
    not round it.
    """
    targets = [callback["_target_"] for callback in callbacks.values()]
    logs_more = any(not t.startswith(("lightning.", "metalearn.")) or t.endswith("RateMonitor") for t in targets)
    for name, callback in callbacks.items():
        target, where = callback["_target_"], f"callbacks.{name}"
        _, _, kind = target.rpartition(".")
        for ending, why in UNUSABLE.items() if target.startswith("lightning.") else ():
            if kind.endswith(ending):
                raise ValueError(f"{where}: {kind} {why}")
        if kind == "ModelCheckpoint" and (overwritten := _overwritten(callback)):
            raise ValueError(f"{where} would overwrite {overwritten} of the run: set {where}.dirpath to another folder")
        if (monitor := callback.get("monitor")) is not None:
            _check_monitor(where, str(monitor), callback.get("mode", "min"), score, logs_more=logs_more)
        if kind == "WeightAverage" and str(precision) in ("16-true", "bf16-true"):
            mixed = str(precision).replace("true", "mixed")
            raise ValueError(f"trainer.precision={precision} would round the average of {where}: use {mixed}")


def _overwritten(callback: dict[str, Any]) -> str | None:
    """Returns the name of a checkpoint of the run that a ModelCheckpoint would write, if any."""
    written = {f"{callback.get('filename')}.ckpt", "last.ckpt" if callback.get("save_last") else ""}
    overwritten = min(written & {"best.ckpt", "last.ckpt"}, default=None)
    if overwritten and callback.get("dirpath"):  # else Lightning's default, which is the run's folder
        run = Path(HydraConfig.get().runtime.output_dir)
        return overwritten if Path(callback["dirpath"]).resolve() == (run / "checkpoints").resolve() else None
    return overwritten


def _check_monitor(where: str, monitor: str, mode: str, score: str, *, logs_more: bool) -> None:
    """Raises ValueError for a score that no run logs, or that is watched the wrong way.

    `logs_more`: whether another callback may log others: one of the user's own, or of the rates.
    """
    split, _, watched = monitor.rpartition("/")
    if watched in SIGNS and watched != score:
        raise ValueError(f"{where} watches {monitor}, but this run has {score}: set {where}.monitor to val/{score}")
    is_logged = split in ("train", "val", "train_val") and watched in (score, f"{score}_ci95", "loss", "seconds")
    if not (is_logged or logs_more or monitor in ("step", "epoch")):
        remedy = f"set {where}.monitor to val/{score} or val/loss"
        raise ValueError(f"{where} watches {monitor}, which no run logs: {remedy}")
    right = {1: "max", -1: "min"}.get({**SIGNS, "loss": -1}.get(watched, 0), mode)
    if mode != right:
        raise ValueError(f"{where} watches {monitor}: set {where}.mode to {right}")
