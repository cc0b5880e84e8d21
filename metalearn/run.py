"""One run: build what the config names, fit, test the best checkpoint, and write what came out."""

import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.sampling import Setting
from metalearn.module import FewShotModule, mean_of_known
from metalearn.runner import checks, console, loggers
from metalearn.runner.checkpoint import Provenance, base_classes, load, load_backbone
from metalearn.runner.claim import claimed
from metalearn.runner.exits import BAD_INPUT, FAILED, ending, refusing_bad_input
from metalearn.runner.machine import is_rank_zero, keep_freed_memory, quieten_lightning
from metalearn.runner.overrides import anywhere
from metalearn.runner.result import Record
from metalearn.runner.secrets import struck_out
from metalearn.runner.signals import Signals, StopBetweenSteps
from metalearn.schedules import SCHEDULES
from metalearn.stats import estimate
from metalearn.types import SPLITS, Split

log = logging.getLogger(__name__)

LAST = "checkpoints/last.ckpt"


@dataclass(frozen=True)
class Job:
    """What a run is made of."""

    config: dict[str, Any]  # resolved, plain
    folder: Path
    module: FewShotModule
    data: EpisodicDataModule
    trainer: pl.Trainer
    checkpoint: dict[str, Any] | None  # to be resumed or tested

    @property
    def batch_size(self) -> int | None:
        """Images of a training batch of all base classes; None where training takes episodes."""
        return self.data.batch_size

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def run(config: DictConfig) -> float | None:
    """Run what a composed config describes; returns the meta-val accuracy, which a search may maximise.

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
            test(job, record)
            record.fields["status"] = "completed"
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
        console.show_result(record.fields, job.config["published"], str(folder))
    val = record.fields["val"]
    return val["accuracy"]["mean"] if val else None


def prepare(config: DictConfig, folder: Path, signals: Signals) -> Job:
    """Check the config and build everything that it names, the data included; ValueError and OSError are the user's."""
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    checks.check_config(plain)
    checks.check_devices(plain["trainer"], torch.cuda.device_count())
    if HydraConfig.get().mode == RunMode.MULTIRUN and plain["trainer"]["devices"] not in (1, "1"):
        raise ValueError("several devices in a sweep need a process for each job: run them one by one, without -m")

    keep_freed_memory()
    quieten_lightning()
    choices = _choices()
    testing = plain["mode"] == "test"
    banks = instantiate(config.dataset).load()
    checks.check_splits(banks, plain["mode"], choices["dataset"])
    splits: tuple[Split, ...] = ("test",) if testing else SPLITS
    # The classes that it was trained on, whatever it is tested on.
    config.num_base_classes = config.num_base_classes or (
        base_classes(Path(plain["checkpoint"])) if testing else banks["train"].num_classes
    )
    plain = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    pl.seed_everything(plain["seed"], verbose=False)
    algorithm = _algorithm(config, plain, choices)
    data = EpisodicDataModule(
        banks,
        {split: Setting(**{k: plain["episode"][split][k] for k in ("way", "shot", "query")}) for split in splits},
        seed=plain["seed"],
        tasks_per_batch=plain["tasks_per_batch"],
        num_episodes={split: plain["episode"][split]["num_episodes"] for split in ("val", "test")},
        batch_size=plain["batch_size"] if algorithm.num_base_classes is not None else None,
        augmentation=instantiate(config.augmentation),
    )
    module = FewShotModule(algorithm, instantiate(config.optimizer), SCHEDULES[plain["schedule"]])
    checkpoint = None
    if testing:
        checkpoint = load(Path(plain["checkpoint"]), module, choices)
    elif plain["resume"]:
        checkpoint = load(folder / LAST, module, choices)
    checks.check_way(plain["episode"], algorithm.fixed_way, choices["algorithm"])
    module.make_optimizer()  # so that a bad setting of the optimiser is found now
    overrides = anywhere(_overrides(), Path(HydraConfig.get().runtime.cwd))
    callbacks = [
        *instantiate(config.callbacks).values(),
        Provenance({**choices, "num_base_classes": plain["num_base_classes"], "overrides": overrides}),
        StopBetweenSteps(signals),
    ]
    all_loggers = list(instantiate(config.logger).values()) if is_rank_zero() else []
    if checkpoint is not None and plain["mode"] == "train":
        loggers.keep_earlier_rows(all_loggers, checkpoint["global_step"])
    trainer = instantiate(config.trainer, callbacks=callbacks, logger=all_loggers, default_root_dir=str(folder))
    if min(data.num_episodes.values()) < trainer.world_size:
        raise ValueError(f"{trainer.world_size} processes need as many meta-val and meta-test episodes at least")
    return Job(plain, folder, module, data, trainer, checkpoint)


def _algorithm(config: DictConfig, plain: dict[str, Any], choices: dict[str, str]) -> AbstractAlgorithm:
    """The algorithm that the config names, on a pretrained backbone where a training is to begin with one."""
    if not plain["pretrained"] or plain["mode"] == "test" or plain["resume"]:
        return instantiate(config.algorithm)
    backbone = instantiate(config.backbone)
    load_backbone(Path(plain["pretrained"]), backbone, choices["backbone"])
    # Not loaded into the algorithm, which may keep copies of what its backbone has at first.
    return instantiate(config.algorithm, _partial_=True)(backbone=backbone)


def fit(job: Job, record: Record) -> None:
    """Train, from the resumed checkpoint if there is one, and leave the weights best on meta-val in the module."""
    resumed = job.folder / LAST if job.checkpoint is not None else None
    began = time.perf_counter()
    try:
        job.trainer.fit(job.module, datamodule=job.data, ckpt_path=resumed, weights_only=True)
    finally:
        record.fields["seconds"]["fit"] = time.perf_counter() - began
        record.fields["steps"] = job.trainer.global_step
    best = load(job.folder / "checkpoints/best.ckpt", job.module, _choices())
    record.fields["val"], record.fields["best_step"] = best["val"], best["global_step"]


def test(job: Job, record: Record) -> None:
    """Score the meta-test episodes."""
    if job.config["mode"] == "test" and job.checkpoint is not None:
        record.fields["val"], record.fields["best_step"] = job.checkpoint.get("val"), job.checkpoint["global_step"]
    began = time.perf_counter()
    job.trainer.test(job.module, datamodule=job.data, verbose=False)
    scores = job.module.scores["test"]
    record.fields["seconds"]["test"] = time.perf_counter() - began
    record.fields["test"] = {
        "accuracy": estimate(scores["accuracy"])._asdict(),
        "loss": estimate(scores["loss"])._asdict(),
        "episodes_sha256": job.data.test_episodes_sha256(len(scores["accuracy"])),
    }
    for name in ("accuracy_by_step", "accuracy_by_instance"):
        if name in scores:
            record.fields["test"][name] = [mean_of_known(column) for column in scores[name].T]
    if is_rank_zero():
        record.write_episodes(scores)


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
        **_choices(),
        "experiment": HydraConfig.get().runtime.choices.get("experiment"),
        "seed": config.get("seed"),
        "batch_norm": config.get("batch_norm"),
        "transductive": config.get("batch_norm") == "batch",
        "pretrained": config.get("pretrained"),
        "episode": OmegaConf.to_container(config.get("episode") or OmegaConf.create()),
        "tasks_per_batch": config.get("tasks_per_batch"),
        "batch_size": None,  # where training takes images of all base classes, not episodes
        "overrides": _overrides(),
    }


def _choices() -> dict[str, str]:
    """The names of the parts that this run is made of."""
    return {name: HydraConfig.get().runtime.choices[name] for name in ("dataset", "algorithm", "backbone")}


def _overrides() -> list[str]:
    """What was typed; an interpolation stays one, since it may stand for a secret."""
    return OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)  # type: ignore[return-value]


def _announce(job: Job) -> None:
    safe = struck_out(job.config)
    for logger in job.trainer.loggers:
        logger.log_hyperparams(safe)
    if is_rank_zero():
        console.show_config(safe)
        console.show_plan(safe, job.batch_size, job.num_parameters, job.trainer.world_size, job.folder)
