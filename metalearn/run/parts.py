"""The parts of a run, built from its plan: algorithm, episodes, module, and trainer."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.utils import instantiate

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.pretrained import without_files
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.functions import FunctionDataModule
from metalearn.episodes.lake import lake_draws
from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.episodes.setting import Setting
from metalearn.run.checks.signatures import KEYS_OF_THE_RUN
from metalearn.run.checks.trainer import check_precision
from metalearn.run.directory.checkpoint import load_backbone
from metalearn.run.keeper import AtomicCheckpointIO
from metalearn.run.plan import Plan
from metalearn.run.process.machine import check_nodes, environments, is_rank_zero
from metalearn.training.module import FewShotModule
from metalearn.types import SPLITS, Augmentation, Split


def build_algorithm(plan: Plan) -> AbstractAlgorithm:
    """Builds the algorithm, on the pretrained backbone of another run if the config names one."""
    config, names = plan.config, plan.choices
    # The checkpoint of a run that began with a file has its weights, so the file may be absent.
    with without_files() if plan.origin and plan.origin.began_with_a_file else nullcontext():
        if not config["pretrained"] or config["checkpoint"] or plan.resumes:
            algorithm: AbstractAlgorithm = instantiate(config["algorithm"])
        else:
            backbone = instantiate(config["backbone"])
            load_backbone(Path(config["pretrained"]), backbone, names["backbone"])
            # The backbone is loaded before the algorithm, which may copy its initial weights.
            algorithm = instantiate(config["algorithm"], _partial_=True)(backbone=backbone)
    if algorithm.problem != config["problem"]:
        raise ValueError(f"{names['algorithm']} classifies, but {names['dataset']} is a regression: use algorithm=maml")
    if algorithm.takes_gradients:
        check_precision(config["trainer"]["precision"], names["algorithm"])
    return algorithm


def build_data(
    plan: Plan, banks: Mapping[Split, Any], algorithm: AbstractAlgorithm, augmentation: Augmentation
) -> AbstractEpisodes[Any]:
    """Builds the episodes of the data set by the protocol of the config."""
    config = plan.config
    splits: tuple[Split, ...] = ("test",) if plan.tests_only else SPLITS
    settings = {split: Setting(**config["episode"][split]) for split in splits}
    common: dict[str, Any] = {"seed": config["seed"], "tasks_per_batch": config["tasks_per_batch"]}
    if algorithm.problem == "regression":
        return FunctionDataModule(banks, settings, **common)
    lake = config["evaluation"]["protocol"] == "lake"
    unchanged = plan.trains_nothing or algorithm.backbone_is_frozen
    return EpisodicDataModule(
        banks,
        settings,
        **common,
        batch_size=config["batch_size"] if algorithm.num_base_classes is not None else None,
        augmentation=augmentation,
        test_draws=lake_draws(banks["test"]) if lake else None,
        embeddings=Path(config["paths"]["cache"]) / "embeddings" if unchanged else None,
    )


def build_module(plan: Plan, algorithm: AbstractAlgorithm) -> FewShotModule:
    """Builds the module: the algorithm with its optimizer and schedule."""
    config = plan.config
    optimizer = {name: value for name, value in config["optimizer"].items() if name not in KEYS_OF_THE_RUN["optimizer"]}
    module = FewShotModule(
        algorithm,
        instantiate(optimizer),
        instantiate(config["scheduler"]),
        backbone_lr=config["optimizer"]["backbone_lr"],
        skip_nonfinite=config["trainer"]["skip_nonfinite"],
    )
    # Lightning converts the weights too, but after it has restored them, and so rounded them.
    return module.double() if str(config["trainer"]["precision"]) in ("64", "64-true") else module


def build_trainer(plan: Plan, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Builds the trainer, with the callbacks and loggers of the config."""
    config = plan.config
    arguments = {name: value for name, value in config["trainer"].items() if name not in KEYS_OF_THE_RUN["trainer"]}
    built: pl.Trainer = instantiate(
        arguments,
        callbacks=[*instantiate(config["callbacks"]).values(), *callbacks],
        logger=list(instantiate(config["logger"]).values()) if is_rank_zero() else [],
        plugins=[*instantiate(arguments.get("plugins") or []), AtomicCheckpointIO(), *environments()],
        default_root_dir=str(plan.folder.path),
    )
    check_nodes(built)
    return built
