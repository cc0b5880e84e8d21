"""Combinations of settings that are valid alone but not together."""

from collections.abc import Container, Mapping
from itertools import zip_longest
from typing import Any

from metalearn.algorithms.parts.base_classes import AbstractBaseStatistics
from metalearn.data.bank import ClassBank
from metalearn.data.files.names import some
from metalearn.episodes.lake import NUM_RUNS, SETTING
from metalearn.losses import Problem
from metalearn.types import SPLITS, Split


def check_devices(trainer: dict[str, Any], accelerators: int) -> None:
    """Raises ValueError if the trainer wants Apple's GPU, or more devices than present.

    Args:
        trainer: config of the trainer.
        accelerators: number of GPUs of the machine.
    """
    kind, wanted = trainer["accelerator"], trainer["devices"]
    if kind == "mps":
        raise ValueError("trainer.accelerator=mps has no float64, which scores need: use trainer=cpu")
    number = int(wanted) if str(wanted).isdigit() and not isinstance(wanted, bool) else None
    if number == 0:
        raise ValueError("trainer.devices=0; it must be at least 1")
    if kind == "cpu" and number is None and wanted != "auto":
        raise ValueError(f"trainer.devices={wanted} names a GPU; on a CPU, give a number of processes")
    count = number or (len(wanted) if isinstance(wanted, list) else 1)
    if kind in ("gpu", "cuda") and count > accelerators:
        raise ValueError(f"trainer.devices={wanted} exceeds the {accelerators} GPUs present")
    if kind == "auto" and count > max(accelerators, 1):
        raise ValueError(
            f"trainer.devices={wanted} exceeds the {accelerators} GPUs present; on the CPU use trainer=ddp_cpu"
        )
    if kind == "auto" and not accelerators and number is None and wanted != "auto":
        raise ValueError(f"trainer.devices={wanted} names a GPU, but this machine has none")


def check_half_precision(trainer: dict[str, Any], accelerators: int) -> None:
    """Raises ValueError for float16 on a CPU, where Lightning would use bfloat16 instead."""
    on_cpu, precision = trainer["accelerator"] == "cpu" or not accelerators, trainer["precision"]
    if on_cpu and str(precision) in ("16", "16-mixed"):
        raise ValueError(f"trainer.precision={precision} needs a GPU: type trainer.precision=bf16-mixed")


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
    needed += ["evaluation.settings=[]"] if evaluation["settings"] else []
    if needed:
        raise ValueError(f"evaluation=lake has {NUM_RUNS} given runs: type {' '.join(needed)}")


def check_splits(splits: Container[Split], mode: str, dataset: str) -> None:
    """Raises ValueError for a training on a data set without meta-train or meta-val."""
    if mode == "test":
        return  # some data sets read a split when it is looked for
    if missing := [f"meta-{split}" for split in SPLITS if split not in splits]:
        raise ValueError(
            f"{dataset} has no {' and no '.join(missing)}, so it cannot train; to test on it: "
            f"mode=test checkpoint=PATH dataset={dataset}"
        )


def check_input_shape(banks: Mapping[Split, Any], config: dict[str, Any]) -> None:
    """Raises ValueError if the images of a split of the run have another shape than stated."""
    for split in ("test",) if config["mode"] == "test" else SPLITS:
        part = "test_dataset" if split == "test" and config.get("test_dataset") else "dataset"
        stated, bank = config[part].get("input_shape"), banks[split]
        if stated is None or not isinstance(bank, ClassBank) or bank.is_text:
            continue
        wanted, found = (str(list(shape)).replace(" ", "") for shape in (stated, bank.images.shape[1:]))
        if found != wanted:
            raise ValueError(
                f"{part}.input_shape={wanted}, but the images of split '{split}' are {found}: "
                f"type {part}.input_shape={found}"
            )


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


def check_same_input(dataset: dict[str, Any], test_dataset: dict[str, Any]) -> None:
    """Raises ValueError if the inputs of meta-test have another kind or shape than in training."""
    kind, other = (_inputs(part) for part in (dataset, test_dataset))
    if kind != other:
        raise ValueError(f"dataset has {kind} and test_dataset {other}: choose two data sets of one kind")
    given, tested = (part.get("input_shape") for part in (dataset, test_dataset))
    if given != tested:
        raise ValueError(
            f"test_dataset has {kind} of {tested}, but training has {given}: set test_dataset.input_shape={given}"
        )


def _inputs(dataset: dict[str, Any]) -> str:
    if "encoding" in dataset:
        return "texts"
    shape = dataset.get("input_shape") or ()
    if shape and len(shape) != 3:
        return "functions"
    return "tables" if dataset["_target_"].endswith(".Table") else "images"


def check_taken_shape(dataset: dict[str, Any], backbone: dict[str, Any]) -> None:
    """Raises ValueError if the backbone is for inputs of another shape than those of the data."""
    given, taken = dataset.get("input_shape"), backbone.get("input_shape")
    if given and taken and given != taken:
        raise ValueError(f"backbone.input_shape={taken} is not that of the data set, {given}: leave it out")


def check_text(dataset: dict[str, Any], backbone: dict[str, Any], augmentation: dict[str, Any]) -> None:
    """Raises ValueError if data set, backbone and augmentation mix texts and images.

    A data set of texts has an `encoding`; a backbone that reads texts has `num_tokens`.
    """
    texts, reads = "encoding" in dataset, "num_tokens" in backbone
    inputs = _inputs(dataset)
    source, network = (part["_target_"].rpartition(".")[2] for part in (dataset, backbone))
    if texts and not reads:
        raise ValueError(f"the backbone {network} takes no texts, but {source} has only texts: use backbone=text_cnn")
    if reads and not texts:
        raise ValueError(f"the backbone {network} takes only texts, but {source} has none: use backbone=conv4")
    encoding = dataset.get("encoding")
    tokens = encoding.get("num_tokens") if isinstance(encoding, dict) else None
    if tokens is not None and (given := backbone["num_tokens"]) != tokens:
        raise ValueError(f"backbone.num_tokens={given} is not that of the encoding, {tokens}: leave it out")
    target = augmentation["_target_"]
    is_for_images = texts or (inputs == "tables" and target.startswith("metalearn."))
    if is_for_images and not target.endswith(".Unchanged"):
        raise ValueError(f"augmentation is for images, but {source} has {inputs}: use augmentation=none")


def check_vocabulary(trained: str | None, tested: str | None) -> None:
    """Raises ValueError if ids of test texts stand for other words than ids of training texts."""
    if trained != tested:
        remedy = "train with dataset.encoding.words=FILE for both, or with dataset.encoding.kind=characters"
        raise ValueError(f"these texts have another vocabulary than those of the training: {remedy}")


def check_columns(trained: list[str], tested: list[str]) -> None:
    """Raises ValueError if a table has other columns than the training's, or another order.

    Lists are empty for other data, and for checkpoints that have no names.
    """
    if trained and tested and trained != tested:
        first = next(place for place, (name, other) in enumerate(zip_longest(trained, tested)) if name != other)
        here, there = (some(names[first:])[:80] for names in (tested, trained))
        both = f"this table has {here} from column {first + 1} on, but that of the training has {there}"
        raise ValueError(f"{both}: give the columns the same names and order")


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


def check_way(episode: dict[str, Any], fixed_way: int | None, algorithm: str) -> None:
    """Raises ValueError if a split has another way than the algorithm's fixed one."""
    ways = {f"episode.{split}.way": of_split["way"] for split, of_split in episode.items()}
    if fixed_way is not None and (others := [f"{key}={way}" for key, way in ways.items() if way != fixed_way]):
        remedy = " ".join(f"{key}={fixed_way}" for key in ways)
        head = f"{algorithm} has a linear head of {fixed_way} ways"
        raise ValueError(f"{head}, which {' and '.join(others)} cannot change: type {remedy}")


def check_precision(precision: Any, algorithm: str) -> None:
    """Raises ValueError for float16 if inner gradients exist, which no gradient scaler reaches."""
    if str(precision) in ("16", "16-mixed", "16-true"):
        raise ValueError(
            f"trainer.precision={precision} would round small gradients of {algorithm} to 0; use bf16-mixed"
        )
