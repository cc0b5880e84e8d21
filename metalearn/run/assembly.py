"""The objects of a run, built from its plan."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from metalearn.data.bank import ClassBank, class_names, columns, vocabulary
from metalearn.episodes.augmentation import Unchanged
from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.episodes.setting import Setting
from metalearn.run.checks.built import check_other_setting, check_scheduler
from metalearn.run.checks.continued import (
    check_base_classes_again,
    check_continued,
    check_limits,
    check_predictor,
    restored,
    warn_of_edits,
)
from metalearn.run.checks.inputs import check_columns, check_vocabulary
from metalearn.run.checks.rules import check_base_statistics, check_candidates, check_problem, check_sampling, check_way
from metalearn.run.checks.weights import check_trainable, check_trained
from metalearn.run.command.overrides import with_absolute_paths
from metalearn.run.compiling import CompiledTasks
from metalearn.run.directory.checkpoint import Done, load
from metalearn.run.directory.origin import Origin
from metalearn.run.directory.secrets import redacted
from metalearn.run.keeper import Keeper
from metalearn.run.loaded import LoadedData, load_data, num_base_classes
from metalearn.run.parts import build_algorithm, build_data, build_module, build_trainer
from metalearn.run.plan import Plan, with_base_classes
from metalearn.run.process.machine import keep_freed_memory, quieten_lightning
from metalearn.run.process.signals import Signals, StopBetweenSteps
from metalearn.run.trials.pruning import Pruning
from metalearn.run.trials.trial import TrialAddress
from metalearn.training.callbacks import Clock, FiniteLoss, FirstStep, StaysStopped, ValidateAtEnd
from metalearn.training.evaluation import meta_test, settings_beside
from metalearn.training.evaluations.base import AbstractEvaluation
from metalearn.training.module import FewShotModule
from metalearn.training.own_parts import check_backbone, check_compare, check_methods
from metalearn.training.own_state import check_state
from metalearn.training.replay import ReplayedSteps, why_not_replayed


@dataclass(frozen=True)
class Assembly:
    """The objects of a run."""

    plan: Plan
    module: FewShotModule
    data: AbstractEpisodes[Any]
    trainer: pl.Trainer
    checkpoint: dict[str, Any] | None  # checkpoint that is resumed or tested
    others: dict[str, Setting]  # further settings of the test, such as 20w1s
    further: AbstractEvaluation | None  # evaluation besides the accuracy
    keeper: Keeper
    clock: Clock
    pruning: Pruning | None  # only in a trial of a search
    shared_classes: int  # number of meta-test classes that training has seen

    @property
    def done(self) -> Done:
        """Training in the checkpoint that is resumed."""
        if self.checkpoint is None or self.plan.tests_only:
            return Done()
        batches = self.checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"]
        tasks = self.checkpoint[type(self.data).__qualname__]["episodes_done"]
        return Done(self.checkpoint["global_step"], batches, tasks)

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def build(plan: Plan, config: DictConfig, signals: Signals) -> Assembly:
    """Builds all objects of a plan, the data included.

    Raises ValueError or OSError in one line for mistakes of the user.

    Args:
        plan: resolved and checked config.
        config: unresolved config, which is resolved again with the number of base classes.
        signals: signals that stop the training.
    """
    keep_freed_memory()
    quieten_lightning()
    loaded = load_data(plan)
    banks = loaded.banks
    augmentation = instantiate(plan.config["augmentation"])
    has_classes = isinstance(banks["test"], ClassBank)
    augmented = not isinstance(augmentation, Unchanged)
    check_problem(plan.config["problem"], plan.choices["dataset"], has_classes=has_classes, augmented=augmented)
    if has_classes:
        plan = with_base_classes(plan, config, num_base_classes(plan, banks))

    pl.seed_everything(plan.config["seed"], verbose=False)
    algorithm = build_algorithm(plan)
    check_methods(algorithm)
    check_state(algorithm)
    data = build_data(plan, banks, algorithm, augmentation)
    data.selects = plan.config["train_split"] is None
    others = settings_beside(
        data.settings["test"], plan.config["evaluation"]["settings"], predicts_jointly=algorithm.predicts_jointly
    )
    for name, setting in others.items():
        check_other_setting(name, setting, data, algorithm.fixed_way)

    module = build_module(plan, algorithm)
    further = instantiate(plan.config["evaluation"].get("further"))
    if further is not None:
        if not getattr(further, "name", None):
            raise ValueError(f"evaluation.further: {type(further).__name__} has no name (docs/extending.md)")
        further.check(meta_test(module, data, module.device))
    score = algorithm.objective.score_name
    keeper, clock = Keeper(plan.folder, _origin(plan, loaded), score, data), Clock()
    checkpoint = _checkpoint(plan, module, keeper)
    _check_weights(plan, module, checkpoint, loaded)
    check_backbone(algorithm, data)
    check_compare(algorithm, data)
    address = None if plan.tests_only else TrialAddress.from_environment()
    pruning = Pruning(address, score=score, folder=plan.folder.path) if address else None
    trainer = build_trainer(plan, _callbacks(plan, signals, clock, keeper, pruning))
    if plan.config["trainer"]["cuda_graph"] and (reason := why_not_replayed(algorithm, trainer, data)):
        raise ValueError(f"trainer.cuda_graph=true: {reason}")
    _check_processes(trainer.world_size, data, plan)
    return Assembly(
        plan, module, data, trainer, checkpoint, others, further, keeper, clock, pruning, loaded.shared_classes
    )


def _check_processes(number: int, data: AbstractEpisodes[Any], plan: Plan) -> None:
    """Raises ValueError if several processes cannot share episodes, batches or run directory."""
    if min(setting.num_episodes for split, setting in data.settings.items() if split != "train") < number:
        raise ValueError(f"{number} processes need at least as many meta-val and meta-test episodes")
    if number > 1 and (skipped := plan.config["trainer"]["skip_nonfinite"]):
        raise ValueError(
            f"trainer.skip_nonfinite={skipped} is for one device, but this run has {number}: the others would wait "
            "for the gradient that is left out; give trainer.devices=1"
        )
    if number > 1 and '"' in str(plan.folder.path):  # Lightning puts it in such quotes, in a command
        raise ValueError(
            f"hydra.run.dir={plan.folder.path} holds a double quote, which {number} processes cannot read: rename it"
        )


def _callbacks(
    plan: Plan, signals: Signals, clock: Clock, keeper: Keeper, pruning: Pruning | None
) -> list[pl.Callback]:
    """Builds the callbacks that every run has; those of the config come before them."""
    return [
        clock,
        FiniteLoss(plan.resume_command),
        StaysStopped(),
        ValidateAtEnd(),
        FirstStep(),
        CompiledTasks(),
        *([] if plan.config["trainer"]["cuda_graph"] is False else [ReplayedSteps()]),
        StopBetweenSteps(signals, save=keeper.save_new),
        *([pruning] if pruning else []),
        keeper,
    ]


def _check_weights(plan: Plan, module: FewShotModule, checkpoint: dict[str, Any] | None, loaded: LoadedData) -> None:
    """Raises ValueError if the weights cannot be trained or tested on these data."""
    algorithm, banks = module.algorithm, loaded.banks
    if origin := plan.origin:
        check_vocabulary(origin.vocabulary, vocabulary(banks["test"]))
        check_columns(origin.columns, columns(banks["test"]))
    check_base_statistics(algorithm.base, banks, plan.choices)
    trained = () if plan.tests_only else banks.values()  # a test has the way of its weights
    most = min((bank.num_classes for bank in trained if isinstance(bank, ClassBank)), default=sys.maxsize)
    check_way(plan.config["episode"], algorithm.fixed_way, plan.choices["algorithm"], most)
    check_candidates(algorithm.num_candidates, plan.config["train_split"], plan.choices["algorithm"])
    check_sampling(plan.config["episode"], algorithm.answers_in_training, plan.choices["algorithm"])
    if plan.trains_nothing:
        check_trained(algorithm, plan.choices, plan.config["pretrained"])
    elif not plan.tests_only:
        check_trainable(algorithm, plan.choices, plan.config["pretrained"])
        check_continued(checkpoint, plan.config, module.make_optimizer())
        if checkpoint is not None and algorithm.num_base_classes is not None:
            check_base_classes_again(Origin.of(checkpoint), class_names(banks["train"]))
        check_scheduler(module.scheduler, module.make_optimizer(), plan.config["trainer"]["max_steps"])


def _checkpoint(plan: Plan, module: FewShotModule, keeper: Keeper) -> dict[str, Any] | None:
    """Loads the tested or resumed checkpoint, if any. Raises ValueError if it does not fit."""
    if plan.config["checkpoint"]:
        return load(Path(plan.config["checkpoint"]), module, plan.choices)
    if not plan.resumes:
        return None
    checkpoint, folder = load(plan.folder.last, module, plan.choices), plan.folder
    check_limits(checkpoint, plan.config["trainer"], folder.path)
    kept = checkpoint["callbacks"][keeper.state_key]
    if kept["best_step"] is not None:
        keeper.check_episodes(kept)
        if keeper.data.selects:
            check_predictor(Origin.of(checkpoint), plan.settings, plan.choices, folder.path)
        try:
            keeper.resume(load(folder.best, module, plan.choices))
        except (ValueError, OSError) as error:
            raise ValueError(f"{folder.path} cannot be resumed, because its best weights are lost: {error}") from error
    warn_of_edits(Origin.of(checkpoint), plan.settings, plan.overrides)
    return checkpoint


def _origin(plan: Plan, loaded: LoadedData) -> Origin:
    """Returns the facts of a run for its checkpoints; with the weights they make a Learner."""
    return Origin(
        dataset=plan.choices["dataset"],
        algorithm=plan.choices["algorithm"],
        backbone=plan.choices["backbone"],
        overrides=with_absolute_paths(plan.overrides, plan.cwd),
        built=redacted(plan.config["algorithm"]),
        preparation=asdict(loaded.preparation) if loaded.preparation else None,
        num_base_classes=plan.config["num_base_classes"],
        classes=loaded.trained_classes,
        vocabulary=vocabulary(loaded.banks["test"]),
        columns=columns(loaded.banks["test"]),
        settings=plan.settings,
        restored=restored(plan.config),
        accumulate_grad_batches=plan.config["trainer"]["accumulate_grad_batches"],
    )
