"""The facts of a run that every logger receives: its config at the start, its result at the end."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import CometLogger, Logger, MLFlowLogger, TensorBoardLogger

from metalearn.run.command.groups import chosen
from metalearn.run.directory.checkpoint import Done
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.keys import leaves
from metalearn.run.directory.result import Result
from metalearn.run.loggers import tensorboard_result
from metalearn.run.loggers.metrics import MetricsFile
from metalearn.run.loggers.mlflow_run import MlflowRun
from metalearn.run.loggers.wandb_run import WandbRun
from metalearn.run.screen import console

GROUPS = ("algorithm", "dataset", "backbone", "optimizer", "scheduler", "experiment")
"""Groups whose chosen options are logged."""

OF_THE_MACHINE = {"callbacks", "hydra", "logger", "paths"}
"""Parts of the config without meaning for a result; their folders would make all runs differ."""


def begin(loggers: Sequence[Logger], config: Mapping[str, Any], result: Result, score: str, done: Done) -> None:
    """Logs the config of a run.

    Args:
        config: resolved config without secrets.
        result: result of the run that begins.
        score: name of the measure, "accuracy" or "mse".
        done: training in the checkpoint that is resumed.
    """
    facts = facts_at_start(config, result)
    # A task is an episode, or a batch of images of all base classes.
    axis, in_task = ("images", result.batch_size) if result.batch_size else ("episodes", 1)
    batches = config["trainer"]["accumulate_grad_batches"]
    per_step: int = batches * config["tasks_per_batch"] * in_task * (result.devices or 1)

    def seen(step: int) -> int:
        return done.tasks * in_task + (step - done.steps) * per_step

    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.begin(facts, axis, seen, score)
        elif isinstance(logger, MlflowRun):
            logger.begin(flat(facts))
        elif isinstance(logger, TensorBoardLogger):
            tensorboard_result.remove(Path(logger.log_dir))
            logger.log_hyperparams(facts, {})  # without metrics only hparams.yaml has them
        else:
            logger.log_hyperparams(facts)


def facts_at_start(config: Mapping[str, Any], result: Result) -> dict[str, Any]:
    """Returns what is known of a run before it trains, as one nested dictionary."""
    hydra = HydraConfig.get()
    algorithm = {name: value for name, value in config["algorithm"].items() if name != "backbone"}
    return {
        **{name: value for name, value in config.items() if name not in OF_THE_MACHINE},
        "algorithm": algorithm,
        "choice": {group: chosen(hydra, group) for group in GROUPS},
        "num_parameters": result.num_parameters,
        "transductive": result.transductive,
        "devices": result.devices,
        "git": result.git,
        "versions": result.versions,
    }


def flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested facts as one level.

    >>> flat({"seed": 0, "optimizer": {"lr": 0.1}})
    {'seed': 0, 'optimizer/lr': 0.1}
    """
    return {key.replace(".", "/"): value for key, value in leaves(facts)}


def facts_at_end(result: Result) -> dict[str, Any]:
    """Returns the fields of a result that describe a run, flat; without those that are unknown."""
    fields: dict[str, Any] = {
        "status": result.status,
        "best_step": result.best_step,
        "steps": result.steps,
        "skipped_batches": result.skipped_batches,
        "num_parameters": result.num_parameters,
        "peak_memory_bytes": result.peak_memory_bytes,
        **{f"seconds_{name}": getattr(result.seconds, name) for name in ("fit", "test", "adapt", "predict")},
    }
    for split, scores in (("val", result.val), ("test", result.test)):
        if scores is None:
            continue
        if measured := scores.measured:
            fields[f"selected/{split}_{measured.name}"] = measured.estimate.mean
            fields[f"selected/{split}_ci95"] = measured.estimate.ci95
        fields[f"selected/{split}_episodes_sha256"] = scores.episodes_sha256
    return {name: value for name, value in fields.items() if value is not None}


def end(loggers: Sequence[Logger], result: Result, folder: RunFolder, exit_code: int) -> None:
    """Logs the result of a run, closes its loggers and prints where the logs are."""
    facts = facts_at_end(result)
    numbers = {name: float(value) for name, value in facts.items() if isinstance(value, int | float)}
    finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
    texts = {name: value for name, value in facts.items() if name not in numbers}
    status, step = "failed" if exit_code else "success", result.steps or 0
    for logger in loggers:
        if isinstance(logger, WandbRun):
            console.say(logger.end(facts, folder.best, exit_code))
        elif isinstance(logger, MLFlowLogger):
            logger.log_metrics(finite, step)
            for name, text in texts.items():
                logger.experiment.set_tag(logger.run_id, name, text)
            logger.finalize(status)
            console.say(f"MLflow: run {logger.run_id}")
        elif isinstance(logger, CometLogger):
            logger.experiment.log_metrics(finite)
            logger.experiment.log_others(facts)
            logger.experiment.end()
            console.say(f"Comet: experiment {logger.version}")
        elif isinstance(logger, TensorBoardLogger):
            assert isinstance(logger.hparams, dict)
            place, config = Path(logger.log_dir), flat(logger.hparams)
            tensorboard_result.write(place, config, finite, texts, step=step, failed=exit_code != 0)
            logger.finalize("success")
        elif not isinstance(logger, MetricsFile):
            logger.log_metrics(finite, step)
            logger.finalize(status)
