"""One run: build what the config names, fit, test the best checkpoint, and write what came out."""

import logging
import sys
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from metalearn.episodes.lake import WAY
from metalearn.run import console, loggers
from metalearn.run.checkpoint import load
from metalearn.run.claim import claimed
from metalearn.run.exits import BAD_INPUT, FAILED, ending, refusing_bad_input
from metalearn.run.job import LAST, Job, choices_made, prepare, typed
from metalearn.run.machine import is_rank_zero
from metalearn.run.result import Record
from metalearn.run.secrets import struck_out
from metalearn.run.signals import Signals
from metalearn.training.evaluation import evaluate, trials

log = logging.getLogger(__name__)


def run(config: DictConfig) -> float | None:
    """Run what a composed config describes; returns the score at meta-val, for a search: accuracy, or squared error.

    Raises SystemExit: 2 for bad input, before any training; 143 after SIGTERM, 130 after Ctrl-C; 1 for other failures.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    if not is_rank_zero():
        return _run(config, folder)
    try:
        with claimed(folder, resume=bool(config.get("resume"))):
            return _run(config, folder)
    except (ValueError, OSError) as error:
        print(f"metalearn: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from error


def _run(config: DictConfig, folder: Path) -> float | None:
    record = Record(folder, _header(config))
    job, code = None, 0
    with Signals() as signals:
        try:
            with refusing_bad_input():
                job = prepare(config, folder, signals)
                record.fields |= {"num_parameters": job.num_parameters, "devices": job.trainer.world_size}
                record.fields["batch_size"] = job.batch_size
                _announce(job)
            if job.config["mode"] == "train":
                fit(job, record)
            pruned = job.pruning is not None and job.pruning.pruned
            if not pruned:
                test(job, record)
            record.fields["status"] = "pruned" if pruned else "completed"
        except BaseException as error:
            record.fields["status"], record.fields["error"], code = ending(error, signals.received)
            _say(error, code, folder)
            # Lightning kills rank 0 when another ends otherwise than with 0, but a signal stops all of them in order.
            interrupted_rank = not is_rank_zero() and record.fields["status"] == "interrupted"
            raise SystemExit(0 if interrupted_rank else code) from error
        finally:
            # A process that fails alone must say so itself, since Lightning kills the others at once; one that fails
            # because rank 0 has ended must not.
            alone = record.fields["status"] == "failed" and not record.path.exists()
            if is_rank_zero() or alone:
                record.write()
            if job is not None:
                loggers.finish(job.trainer.loggers, code)
    if is_rank_zero():
        if record.fields["status"] == "pruned":
            log.info("pruned at step %s: the other trials of the search are better", record.fields["steps"])
        else:
            console.show_result(record.fields, job.config["published"], str(folder))
    val = record.fields["val"]
    return val[job.score_name]["mean"] if val and job else None


def fit(job: Job, record: Record) -> None:
    """Train, from the resumed checkpoint if there is one, and leave the weights best on meta-val in the module."""
    resumed = job.folder / LAST if job.checkpoint is not None else None
    began = time.perf_counter()
    try:
        job.trainer.fit(job.module, datamodule=job.data, ckpt_path=resumed, weights_only=True)
    finally:
        record.fields["seconds"]["fit"] = time.perf_counter() - began
        record.fields["steps"] = job.trainer.global_step
    best = load(job.folder / "checkpoints/best.ckpt", job.module, choices_made())
    record.fields["val"], record.fields["best_step"] = best["val"], best["global_step"]


def test(job: Job, record: Record) -> None:
    """Score the meta-test episodes, and with the same weights those of other settings."""
    if job.config["mode"] == "test" and job.checkpoint is not None:
        record.fields["val"], record.fields["best_step"] = job.checkpoint.get("val"), job.checkpoint["global_step"]
        record.fields["trained_dataset"] = job.checkpoint["metalearn"]["dataset"]
    began = time.perf_counter()
    fields, scores = evaluate(job.trainer, job.module, job.data)
    record.fields["seconds"] |= {"test": time.perf_counter() - began, **job.module.median_cost()}
    if job.config["evaluation"]["protocol"] == "lake":
        fields["error"] = trials(fields, WAY)
    record.fields["test"] = fields
    record.write_episodes(scores)
    for name, setting in job.others.items():
        job.data.settings["test"] = setting
        fields, scores = evaluate(job.trainer, job.module, job.data, f"test_{name}")
        record.fields["evaluations"][name] = fields
        record.write_episodes(scores, name)


def _say(error: BaseException, code: int, folder: Path) -> None:
    if code == BAD_INPUT:
        print(f"metalearn: {error}", file=sys.stderr)
    elif code == FAILED:
        log.error("the run failed", exc_info=error)
    elif is_rank_zero() and (folder / LAST).is_file():
        log.warning("stopped by a signal; to go on: python -m metalearn resume='%s'", folder)


def _header(config: DictConfig) -> dict[str, Any]:
    """The fields of the result that are known before the run."""
    return {
        **choices_made(),
        "experiment": HydraConfig.get().runtime.choices.get("experiment"),
        "seed": config.get("seed"),
        "task": config.get("task"),
        "batch_norm": config.get("batch_norm"),
        "transductive": config.get("batch_norm") == "batch",
        "pretrained": config.get("pretrained"),
        "episode": OmegaConf.to_container(config.get("episode") or OmegaConf.create()),
        "tasks_per_batch": config.get("tasks_per_batch"),
        "batch_size": None,  # where training takes images of all base classes, not episodes
        "trained_dataset": choices_made()["dataset"],  # another one where a checkpoint is tested on other data
        "test_dataset": HydraConfig.get().runtime.choices.get("dataset@test_dataset") or choices_made()["dataset"],
        "published": OmegaConf.to_container(config).get("published"),  # type: ignore[union-attr]
        "overrides": typed(),
    }


def _announce(job: Job) -> None:
    safe = struck_out(job.config)
    for logger in job.trainer.loggers:
        logger.log_hyperparams(safe)
    if is_rank_zero():
        console.show_config(safe)
        console.show_plan(safe, job.batch_size, job.num_parameters, job.trainer.world_size, job.folder)
