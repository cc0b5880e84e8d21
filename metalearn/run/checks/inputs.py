"""Inputs that the data sets of a run and its backbone must share."""

import logging
from collections.abc import Container, Mapping
from itertools import zip_longest
from typing import Any

from metalearn.data.bank import ClassBank
from metalearn.data.files.names import some
from metalearn.types import SPLITS, Split

log = logging.getLogger(__name__)


def check_splits(splits: Container[Split], mode: str, dataset: str) -> None:
    """Raises ValueError for a data set without a split that the run needs."""
    needed: tuple[Split, ...] = ("test",) if mode == "test" else SPLITS  # to look for a split may read it
    missing = [f"meta-{split}" for split in needed if split not in splits]
    if missing == ["meta-test"]:
        raise ValueError(f"{dataset} has no meta-test: type test_dataset=NAME for a data set that has one")
    if missing:
        raise ValueError(
            f"{dataset} has no {' and no '.join(missing)}, so it cannot train; to test on it: "
            f"mode=test checkpoint=PATH dataset={dataset}"
        )


def check_input_shape(banks: Mapping[Split, Any], config: dict[str, Any]) -> None:
    """Raises ValueError if a split of the run has images of another shape, or is no data at all."""
    for split in ("test",) if config["mode"] == "test" else SPLITS:
        part = "test_dataset" if split == "test" and config.get("test_dataset") else "dataset"
        stated, bank = config[part].get("input_shape"), banks[split]
        if not isinstance(bank, ClassBank) and not hasattr(bank, "points"):
            raise ValueError(
                f"{part}: load() gives a {type(bank).__name__} for split '{split}': it must be a ClassBank, or for a "
                "regression an object with points(rng, count) (docs/extending.md)"
            )
        if stated is None or not isinstance(bank, ClassBank) or bank.is_text:
            continue
        wanted, found = (str(list(shape)).replace(" ", "") for shape in (stated, bank.images.shape[1:]))
        height, width, colours = bank.images.shape[1:]
        if found != wanted == str([colours, height, width]).replace(" ", ""):
            raise ValueError(f"the images of split '{split}' are {found}, (H, W, C): turn them to {wanted}, (C, H, W)")
        if found != wanted:
            raise ValueError(
                f"{part}.input_shape={wanted}, but the images of split '{split}' are {found}: "
                f"type {part}.input_shape={found}"
            )


def warn_of_faint(banks: Mapping[Split, Any], mode: str) -> None:
    """Warns of images that are nearly black since numbers from 0 to 1 became bytes."""
    for split in ("test",) if mode == "test" else SPLITS:
        bank = banks[split]
        is_of_images = isinstance(bank, ClassBank) and not bank.is_text and not bank.columns
        if is_of_images and all(images.max() <= 1 for images in bank.images.split(100)):
            log.warning(
                "the images of split '%s' have no byte above 1 of 255: multiply numbers from 0 to 1 by 255 before they "
                "become bytes",
                split,
            )


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
        remedy = "type dataset.encoding.words=FILE or dataset.encoding.kind=characters in the training and in the test"
        raise ValueError(f"these texts have another vocabulary than those of the training: {remedy}")


def check_columns(trained: list[str], tested: list[str]) -> None:
    """Raises ValueError if a table has other columns than the training's, or another order.

    Lists are empty for other data.
    """
    if trained and tested and trained != tested:
        first = next(place for place, (name, other) in enumerate(zip_longest(trained, tested)) if name != other)
        here, there = (some(names[first:])[:80] for names in (tested, trained))
        both = f"this table has {here} from column {first + 1} on, but that of the training has {there}"
        raise ValueError(f"{both}: give the columns the same names and order")
