"""Checks of callbacks: those that a run cannot use, and scores that are watched the wrong way."""

from typing import Any

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
    for name, callback in callbacks.items():
        target = callback["_target_"]
        _, _, kind = target.rpartition(".")
        for ending, why in UNUSABLE.items() if target.startswith("lightning.") else ():
            if kind.endswith(ending):
                raise ValueError(f"callbacks.{name}: {kind} {why}")
        watched = str(callback.get("monitor", "")).rpartition("/")[2]
        if watched in SIGNS and watched != score:
            there = f"watches {callback['monitor']}, but this run has {score}"
            raise ValueError(f"callbacks.{name} {there}: set callbacks.{name}.monitor to val/{score}")
        mode = {1: "max", -1: "min"}.get({**SIGNS, "loss": -1}.get(watched, 0))
        if mode and callback.get("mode", "min") != mode:
            raise ValueError(f"callbacks.{name} watches {callback['monitor']}: set callbacks.{name}.mode to {mode}")
        if target.endswith(".WeightAverage") and str(precision) in ("16-true", "bf16-true"):
            mixed = str(precision).replace("true", "mixed")
            raise ValueError(f"trainer.precision={precision} would round the average of callbacks.{name}: use {mixed}")
