"""The data of a run, loaded by its config."""

import logging
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hydra.utils import instantiate

from metalearn.data.bank import class_names, columns, vocabulary, warn_of_shared_classes
from metalearn.data.files.preparation import Preparation
from metalearn.data.folds import fold_of
from metalearn.data.joined import joined
from metalearn.data.text.preparation import TextPreparation
from metalearn.run.checks import rules
from metalearn.run.directory.checkpoint_file import read_origin
from metalearn.run.plan import Plan
from metalearn.types import Split

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedData:
    """The splits of a data set, and facts about them."""

    banks: Mapping[Split, Any]  # some data sets read a split at its first use
    preparation: Preparation | TextPreparation | None  # form of new images or texts, if stated
    origin: dict[str, Any]  # facts of the run that trained the weights before; empty if there is none
    trained_classes: list[str]  # names of the training classes of the weights, of this and earlier runs
    shared_classes: int  # number of meta-test classes that training has seen


def load_data(plan: Plan) -> LoadedData:
    """Loads the data set; meta-test comes from `test_dataset` if the config names one."""
    config = plan.config
    source = tested = instantiate(config["dataset"])
    banks: Mapping[Split, Any] = source.load()
    if folds := config["evaluation"].get("folds"):
        rules.check_folds(banks, config, plan.choices["dataset"])
        banks = fold_of(banks, folds=folds, fold=config["evaluation"]["fold"], seed=config["seed"])
    if config.get("test_dataset"):
        tested = instantiate(config["test_dataset"])
        banks = ChainMap({"test": tested.load()["test"]}, banks)  # type: ignore[arg-type]
        if not plan.tests_only:
            rules.check_vocabulary(vocabulary(banks["train"]), vocabulary(banks["test"]))
            rules.check_columns(columns(banks["train"]), columns(banks["test"]))
    origin = read_origin(plan.trained_before) if plan.trained_before else {}
    own_bits = [] if plan.tests_only else [(plan.choices["dataset"], _bits(source))]
    earlier = origin.get("dataset"), (origin.get("preparation") or {}).get("bits")
    _warn_of_other_white([earlier, *own_bits, (plan.test_dataset, _bits(tested))])
    rules.check_splits(banks, config["mode"], plan.choices["dataset"])
    rules.check_input_shape(banks, config)
    if config["train_split"] and not plan.tests_only:
        both = joined([banks["train"], banks["val"]])
        banks = ChainMap({"train": both, "val": both}, banks)  # type: ignore[arg-type]
    if config["pretrained"] and not (plan.tests_only or plan.resumes or config["train_split"]):
        _check_selection(config["pretrained"], origin, banks)
    own = [] if plan.tests_only else class_names(banks["train"])
    trained = list(dict.fromkeys([*own, *origin.get("classes", [])]))
    shared = warn_of_shared_classes(trained, class_names(banks["test"]))
    return LoadedData(banks, getattr(source, "preparation", None), origin, trained, shared)


def _bits(source: Any) -> int | None:
    """Returns how many bits the pixels of 16 bits use; None for no images."""
    return getattr(getattr(source, "preparation", None), "bits", None)


def _warn_of_other_white(data_sets: list[tuple[str | None, int | None]]) -> None:
    """Warns where files use other bits of 16 than those of the training, so other values.

    Args:
        data_sets: name and bits of each data set, those of the training before that of the test.
    """
    for (trained, bits), (name, own) in pairwise(data_sets):
        # 16 is also the number of a data set without pixels of 16 bits, such as omniglot.
        is_known = name == trained or 16 not in (bits, own)
        if bits and own and bits != own and is_known:
            message = "%s: white is %d in these images of 16 bits and was %d in the training, so they look %s"
            log.warning(message, name, 2**own - 1, 2**bits - 1, "darker" if own > bits else "brighter")


def _check_selection(path: str, origin: dict[str, Any], banks: Mapping[Split, Any]) -> None:
    """Warns of meta-val classes that the pretrained weights have seen.

    Raises ValueError where they were trained on meta-val by intent.
    """
    seen = warn_of_shared_classes(origin.get("classes", []), class_names(banks["val"]), "meta-val")
    if seen and origin.get("settings", {}).get("train_split"):
        raise ValueError(
            f"pretrained={path} was trained on {seen} meta-val classes (train_split), so meta-val cannot select: "
            "add train_split=train_val, or take other weights"
        )


def num_base_classes(plan: Plan, loaded: LoadedData) -> int:
    """Returns the number of training classes, of this or an earlier run.

    Raises ValueError if the config states another number.
    """
    given, banks = plan.config["num_base_classes"], loaded.banks
    if plan.tests_only and loaded.origin:
        counted: int = loaded.origin.get("num_base_classes", 0)
    elif (not plan.tests_only or "num_base_classes" in plan.config["algorithm"]) and "train" in banks:
        counted = banks["train"].num_classes
    else:
        counted = 0
    rules.check_base_classes(given, counted)
    return counted or given
