"""Combinations of settings that are valid alone but not together."""

from collections.abc import Container, Mapping
from typing import Any

from metalearn.algorithms.parts.base_classes import AbstractBaseStatistics
from metalearn.data.bank import ClassBank
from metalearn.episodes.lake import NUM_RUNS, SETTING
from metalearn.losses import Problem
from metalearn.types import Split


def check_train_split(config: dict[str, Any]) -> None:
    """Raises ValueError for settings that need a meta-val which the training has taken."""
    if config["train_split"] is None:
        return
    if config["problem"] != "classification":
        raise ValueError(f"train_split=train_val joins classes, which a {config['problem']} has not: leave it out")
    if config["mode"] == "test" and not (config["checkpoint"] or config["pretrained"]):
        raise ValueError("train_split=train_val is for a training: leave it out of a test")
    monitors = {f"callbacks.{name}": callback.get("monitor") for name, callback in config["callbacks"].items()}
    if config["scheduler"]["_target_"].endswith(".ReduceLROnPlateau"):
        monitors["scheduler"] = "val/loss"
    for part, monitor in monitors.items():
        if str(monitor).startswith("val/"):
            raise ValueError(f"{part} needs {monitor}, but train_split=train_val leaves no meta-val: leave one out")


def check_candidates(number: int, train_split: str | None, algorithm: str) -> None:
    """Raises ValueError if the algorithm chooses a setting on a meta-val that is not left."""
    if train_split is not None and number > 1:
        raise ValueError(
            f"{algorithm} chooses from {number} settings on meta-val, but train_split={train_split} leaves none: "
            "give one value"
        )


def check_protocol(config: dict[str, Any]) -> None:
    """Raises ValueError for half a cross-validation, or settings that Lake's runs do not have."""
    evaluation, test = config["evaluation"], config["episode"]["test"]
    if len(given := {"fold", "folds"}.intersection(evaluation)) == 1:
        remedy = "type evaluation=crossval evaluation.fold=N"
        raise ValueError(f"evaluation.{given.pop()} alone is not a cross-validation: {remedy}")
    if evaluation["protocol"] != "lake":
        return
    if not config["dataset"]["_target_"].endswith(".Omniglot"):
        raise ValueError("evaluation=lake has runs of Omniglot alone: type dataset=omniglot")
    needed = [f"episode.test.{name}={value}" for name, value in SETTING.items() if test.get(name) != value]
    needed += ["evaluation.settings=[]"] if evaluation["settings"] != [] else []  # null adds some
    if needed:
        raise ValueError(f"evaluation=lake has {NUM_RUNS} given runs: type {' '.join(needed)}")


def check_base_statistics(
    base: AbstractBaseStatistics | None, splits: Container[Split], choices: dict[str, str]
) -> None:
    """Raises ValueError if the algorithm needs base classes that no checkpoint or data set has."""
    if base is not None and not base.is_fitted and "train" not in splits:
        raise ValueError(
            "{algorithm} needs the embeddings of base classes, but {dataset} is for testing only: type "
            "test_dataset={dataset}, and for dataset=NAME one with meta-train".format(**choices)
        )


def check_folds(banks: Mapping[Split, Any], config: dict[str, Any], dataset: str) -> None:
    """Raises ValueError if no classes can be split into folds, or for another test data set."""
    if not all(isinstance(bank, ClassBank) for bank in banks.values()):
        raise ValueError(f"evaluation=crossval splits classes into folds, but {dataset} has no classes")
    if config.get("test_dataset"):
        raise ValueError("evaluation=crossval tests on folds of the data set itself: leave test_dataset out")


def check_problem(problem: Problem, dataset: str, *, has_classes: bool, augmented: bool) -> None:
    """Raises ValueError if the data set is for another problem, or if points are augmented."""
    if has_classes != (problem == "classification"):
        raise ValueError(
            f"problem={problem}, but {dataset} is {'a data set of classes' if has_classes else 'for regression'}"
        )
    if augmented and not has_classes:
        raise ValueError(f"augmentation is for images, but {dataset} has none: use augmentation=none")


def check_sampling(episode: dict[str, Any], answers_in_training: bool, algorithm: str) -> None:
    """Raises ValueError if the training has no answers by which hard classes are found."""
    if episode["train"].get("sampling") == "hard" and not answers_in_training:
        why = f"{algorithm} answers no queries in training"
        raise ValueError(f"episode.train.sampling=hard: {why}, so use sampling=uniform")


def check_base_classes(given: int, counted: int) -> None:
    """Raises ValueError if the config states another number than training has; 0 is unknown."""
    if given and counted and given != counted:
        raise ValueError(f"num_base_classes={given}, but training has {counted} classes; leave it out")


def check_way(episode: dict[str, Any], fixed_way: int | None, algorithm: str, most: int) -> None:
    """Raises ValueError if a split has another way than the algorithm's fixed one.

    `most`: largest way that all splits have classes for, which the remedy does not exceed.
    """
    ways = {f"episode.{split}.way": of_split["way"] for split, of_split in episode.items()}
    if fixed_way is not None and (others := [f"{key}={way}" for key, way in ways.items() if way != fixed_way]):
        remedy = " ".join(f"{key}={min(fixed_way, most)}" for key in ways)
        head = f"{algorithm} has a linear head of {fixed_way} ways"
        raise ValueError(f"{head}, which {' and '.join(others)} cannot change: type {remedy}")
