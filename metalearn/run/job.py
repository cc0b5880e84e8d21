"""What a run is made of, built from its config."""

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
from metalearn.data.bank import ClassBank, class_names, tell_shared_classes
from metalearn.episodes.augmentation import Augmentation, Unchanged
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.functions import FunctionDataModule
from metalearn.episodes.lake import lake_draws
from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.episodes.sampling import Setting
from metalearn.run import loggers
from metalearn.run.checkpoint import Provenance, base_classes, load, load_backbone, trained_classes
from metalearn.run.checks import check_config, rules
from metalearn.run.machine import accelerator, environments, is_rank_zero, keep_freed_memory, quieten_lightning
from metalearn.run.overrides import anywhere
from metalearn.run.pruning import Pruning, pruning_of_environment
from metalearn.run.signals import Signals, StopBetweenSteps
from metalearn.training.evaluation import named_setting
from metalearn.training.module import FewShotModule
from metalearn.training.schedules import SCHEDULES
from metalearn.types import SPLITS, Split

LAST = "checkpoints/last.ckpt"


@dataclass(frozen=True)
class Job:
    """What a run is made of."""

    config: dict[str, Any]  # resolved, plain
    folder: Path
    module: FewShotModule
    data: AbstractEpisodes[Any]
    trainer: pl.Trainer
    checkpoint: dict[str, Any] | None  # to be resumed or tested
    others: dict[str, Setting]  # by which it is tested too, such as 20w1s
    pruning: Pruning | None  # of a trial of a search

    @property
    def batch_size(self) -> int | None:
        """Images of a training batch of all base classes; None where training takes episodes."""
        return self.data.batch_size

    @property
    def score_name(self) -> str:
        return self.module.algorithm.objective.score_name

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def prepare(config: DictConfig, folder: Path, signals: Signals) -> Job:
    """Check the config and build everything that it names, the data included; ValueError and OSError are the user's."""
    plain = _plain(config)
    check_config(plain)
    rules.check_devices(plain["trainer"], torch.cuda.device_count())
    config.trainer.accelerator = accelerator(plain["trainer"]["accelerator"])
    plain = _plain(config)
    if HydraConfig.get().mode == RunMode.MULTIRUN and plain["trainer"]["devices"] not in (1, "1"):
        raise ValueError("several devices in a sweep need a process for each job: hydra/launcher=subprocess")

    keep_freed_memory()
    quieten_lightning()
    choices, testing = choices_made(), plain["mode"] == "test"
    banks = _banks(config, plain, choices["dataset"])
    images = all(isinstance(bank, ClassBank) for bank in banks.values())
    augmentation = instantiate(config.augmentation)
    rules.check_task(plain["task"], images, not isinstance(augmentation, Unchanged), choices["dataset"])
    if images:
        # The classes that it was trained on, whatever it is tested on.
        known = base_classes(Path(plain["checkpoint"])) if testing else banks["train"].num_classes
        rules.check_base_classes(plain["num_base_classes"], known)
        config.num_base_classes = known or plain["num_base_classes"]
        plain = _plain(config)

    pl.seed_everything(plain["seed"], verbose=False)
    algorithm = _algorithm(config, plain, choices)
    if algorithm.task != plain["task"]:
        raise ValueError(f"{choices['algorithm']} classifies; {choices['dataset']} is for the gradient algorithms")
    if algorithm.takes_gradients:
        rules.check_precision(plain["trainer"]["precision"], choices["algorithm"])
    splits: tuple[Split, ...] = ("test",) if testing else SPLITS
    episode = plain["episode"]
    settings = {split: Setting(**{k: v for k, v in episode[split].items() if k != "num_episodes"}) for split in splits}
    data = _data(plain, banks, settings, algorithm, augmentation)
    others = {name: named_setting(name, settings["test"]) for name in plain["evaluation"]["settings"]}
    for setting in others.values():
        data.check(setting, "test")
        rules.check_way({"test": {"way": setting.way}}, algorithm.fixed_way, choices["algorithm"])

    module = FewShotModule(algorithm, instantiate(config.optimizer), SCHEDULES[plain["schedule"]])
    checkpoint = None
    if testing:
        checkpoint = load(Path(plain["checkpoint"]), module, choices)
    elif plain["resume"]:
        checkpoint = load(folder / LAST, module, choices)
    rules.check_way(episode, algorithm.fixed_way, choices["algorithm"])
    module.make_optimizer()  # so that a bad setting of the optimiser is found now
    pruning = pruning_of_environment(algorithm.objective.score_name) if not testing else None
    callbacks = [
        Provenance(
            {
                **choices,
                "num_base_classes": plain["num_base_classes"],
                "classes": class_names(banks.get("train")),
                "overrides": anywhere(typed(), Path(HydraConfig.get().runtime.cwd)),
            }
        ),
        StopBetweenSteps(signals),
        *([pruning] if pruning else []),
    ]
    all_loggers = list(instantiate(config.logger).values()) if is_rank_zero() else []
    if checkpoint is not None and not testing:
        loggers.keep_earlier_rows(all_loggers, checkpoint["global_step"])
    trainer = instantiate(
        config.trainer,
        callbacks=[*instantiate(config.callbacks).values(), *callbacks],
        logger=all_loggers,
        plugins=[*instantiate(config.trainer.get("plugins") or []), *environments()],
        default_root_dir=str(folder),
    )
    if min(data.num_episodes.values()) < trainer.world_size:
        raise ValueError(f"{trainer.world_size} processes need as many meta-val and meta-test episodes at least")
    return Job(plain, folder, module, data, trainer, checkpoint, others, pruning)


def _plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def _banks(config: DictConfig, plain: dict[str, Any], dataset: str) -> dict[Split, Any]:
    """The splits of the data set, meta-test of another one where the config names one for it."""
    banks = instantiate(config.dataset).load()
    if config.get("test_dataset"):
        banks["test"] = instantiate(config.test_dataset).load()["test"]
        rules.check_same_input(plain["dataset"], plain["test_dataset"])
    rules.check_splits(banks, plain["mode"], dataset)
    testing = plain["mode"] == "test"
    trained = trained_classes(Path(plain["checkpoint"])) if testing else class_names(banks["train"])
    tell_shared_classes(trained, class_names(banks["test"]))
    return banks


def _data(
    plain: dict[str, Any],
    banks: dict[Split, Any],
    settings: dict[Split, Setting],
    algorithm: AbstractAlgorithm,
    augmentation: Augmentation,
) -> AbstractEpisodes[Any]:
    """The episodes of the data set, by the protocol of the config."""
    common: dict[str, Any] = {
        "seed": plain["seed"],
        "tasks_per_batch": plain["tasks_per_batch"],
        "num_episodes": {split: plain["episode"][split]["num_episodes"] for split in ("val", "test")},
    }
    if algorithm.task == "regression":
        return FunctionDataModule(banks, settings, **common)
    lake = plain["evaluation"]["protocol"] == "lake"
    return EpisodicDataModule(
        banks,
        settings,
        **common,
        batch_size=plain["batch_size"] if algorithm.num_base_classes is not None else None,
        augmentation=augmentation,
        test_draws=lake_draws(banks["test"]) if lake else None,
    )


def _algorithm(config: DictConfig, plain: dict[str, Any], choices: dict[str, str]) -> AbstractAlgorithm:
    """The algorithm that the config names, on a pretrained backbone where a training is to begin with one."""
    if not plain["pretrained"] or plain["mode"] == "test" or plain["resume"]:
        return instantiate(config.algorithm)
    backbone = instantiate(config.backbone)
    load_backbone(Path(plain["pretrained"]), backbone, choices["backbone"])
    # Not loaded into the algorithm, which may keep copies of what its backbone has at first.
    return instantiate(config.algorithm, _partial_=True)(backbone=backbone)


def choices_made() -> dict[str, str]:
    """The names of the parts that this run is made of."""
    return {name: HydraConfig.get().runtime.choices[name] for name in ("dataset", "algorithm", "backbone")}


def typed() -> list[str]:
    """What was typed; an interpolation stays one, since it may stand for a secret."""
    return OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)  # type: ignore[return-value]
