"""The data of a run, loaded by its config."""

import logging
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from hydra.utils import instantiate

from metalearn.data.bank import ClassBank, class_names, columns, vocabulary
from metalearn.data.files.preparation import Preparation
from metalearn.data.folds import fold_of
from metalearn.data.joined import joined
from metalearn.data.overlap import warn_of_shared_classes
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.tokens import Encoding
from metalearn.run.checks.inputs import (
    check_columns,
    check_input_shape,
    check_splits,
    check_vocabulary,
    warn_of_faint,
)
from metalearn.run.checks.rules import check_base_classes, check_folds
from metalearn.run.directory.origin import Origin
from metalearn.run.plan import Plan
from metalearn.types import SPLITS, Split

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedData:
    """The splits of a data set, and facts about them."""

    banks: Mapping[Split, Any]  # some data sets read a split at its first use
    preparation: Preparation | TextPreparation | None  # form of new images or texts, if stated
    trained_classes: list[str]  # names of the training classes of the weights, of this and earlier runs
    shared_classes: int  # number of meta-test classes that training has seen


class Look(NamedTuple):
    """How the files of a data set became images; None for other data, or if unknown."""

    name: str | None
    split: Split
    invert: bool | None
    bits: int | None


def load_data(plan: Plan) -> LoadedData:
    """Loads the data set; meta-test comes from `test_dataset` if the config names one."""
    config, origin = plan.config, plan.origin
    source = tested = _source(config["dataset"], origin)
    banks = _banks(source)
    if folds := config["evaluation"].get("folds"):
        check_folds(banks, config, plan.choices["dataset"])
        banks = fold_of(banks, folds=folds, fold=config["evaluation"]["fold"], seed=config["seed"])
    if config.get("test_dataset"):
        tested = _source(config["test_dataset"], origin)
        banks = ChainMap({"test": _banks(tested)["test"]}, banks)  # type: ignore[arg-type]
        if not plan.tests_only:
            check_vocabulary(vocabulary(banks["train"]), vocabulary(banks["test"]))
            check_columns(columns(banks["train"]), columns(banks["test"]))
    looks = [_look_of_training(origin)]
    looks += [] if plan.tests_only else [_look(plan.choices["dataset"], "train", source)]
    _warn_of_other_looks([*looks, _look(plan.test_dataset, "test", tested)], banks)
    check_splits(banks, config["mode"], plan.choices["dataset"])
    check_input_shape(banks, config)
    warn_of_faint(banks, config["mode"])
    if config["train_split"] and not plan.tests_only:
        both = joined([banks["train"], banks["val"]])
        banks = ChainMap({"train": both, "val": both}, banks)  # type: ignore[arg-type]
    if origin and config["pretrained"] and not (plan.tests_only or plan.resumes or config["train_split"]):
        _check_selection(config["pretrained"], origin, banks)
    own = [] if plan.tests_only else class_names(banks["train"])
    trained = list(dict.fromkeys([*own, *(origin.classes if origin else ())]))
    shared = warn_of_shared_classes(trained, class_names(banks["test"]))
    return LoadedData(banks, getattr(source, "preparation", None), trained, shared)


def _source(config: dict[str, Any], origin: Origin | None) -> Any:
    """Builds a data set.

    The vocabulary of weights that began with a file of vectors replaces that file if it is absent.
    """
    source = instantiate(config)
    if origin and origin.began_with_a_file:
        match getattr(source, "encoding", None), origin.preparation:
            case Encoding() as encoding, {"recipe": {"vocabulary": [*vocabulary]}}:
                encoding.kept = vocabulary
    return source


def _banks(source: Any) -> Mapping[Split, Any]:
    """Loads the splits of a data set. Raises ValueError if they have other names."""
    banks: Mapping[Split, Any] = source.load()
    is_mapping = isinstance(banks, Mapping)
    names = {*banks} if is_mapping else set()  # a look at the names reads no split
    if names >= {*SPLITS} or (names and names <= {*SPLITS}):  # a set of all three may have further ones
        return banks
    found = f"the keys {list(banks)}" if is_mapping else f"a {type(banks).__name__}"
    raise ValueError(
        f"load() of {type(source).__name__} returns {found}: it must return a mapping with the keys "
        f"{list(SPLITS)}, or 'test' alone (docs/extending.md)"
    )


def _look(name: str, split: Split, source: Any) -> Look:
    how = getattr(source, "preparation", None)
    return Look(name, split, getattr(how, "invert", None), getattr(how, "bits", None))


def _look_of_training(origin: Origin | None) -> Look:
    how = (origin.preparation if origin else None) or {}
    return Look(origin.dataset if origin else None, "train", how.get("invert"), how.get("bits"))


def _warn_of_other_looks(looks: list[Look], banks: Mapping[Split, Any]) -> None:
    """Warns where images look otherwise than those that the network was trained on before.

    Their files may use other bits of 16, or show dark ink that the training inverted.
    """
    for before, now in pairwise(looks):
        # 16 is also the number of a data set without pixels of 16 bits.
        is_known = 16 not in (before.bits, now.bits) or (before is looks[0] and before.name == now.name)
        if before.bits and now.bits and before.bits != now.bits and is_known:
            message = "%s: white is %d in these images of 16 bits and was %d in the training, so they look %s"
            look = "darker" if now.bits > before.bits else "brighter"
            log.warning(message, now.name, 2**now.bits - 1, 2**before.bits - 1, look)
        if before.invert and now.invert is False and _is_bright(banks[now.split]):
            message = "%s: its images are bright, and those of the training were inverted: set its argument invert=true"
            log.warning(message, now.name)


def _is_bright(bank: ClassBank) -> bool:
    """Whether the mean pixel of some hundred images is nearer to white than to black."""
    some = bank.images[:: len(bank.images) // 100 + 1]
    return float(some.float().mean()) > 127.5


def _check_selection(path: str, origin: Origin, banks: Mapping[Split, Any]) -> None:
    """Warns of meta-val classes that the pretrained weights have seen.

    Raises ValueError where they were trained on meta-val by intent.
    """
    seen = warn_of_shared_classes(origin.classes, class_names(banks["val"]), "meta-val")
    if seen and origin.settings.get("train_split"):
        raise ValueError(
            f"pretrained={path} was trained on {seen} meta-val classes (train_split), so meta-val cannot select: "
            "add train_split=train_val, or take other weights"
        )


def num_base_classes(plan: Plan, banks: Mapping[Split, Any]) -> int:
    """Returns the number of training classes, of this or an earlier run.

    Raises ValueError if the config states another number.
    """
    given = plan.config["num_base_classes"]
    if plan.tests_only and plan.origin:
        counted = plan.origin.num_base_classes
    elif (not plan.tests_only or "num_base_classes" in plan.config["algorithm"]) and "train" in banks:
        counted = banks["train"].num_classes
    else:
        counted = 0
    check_base_classes(given, counted)
    return counted or given
