"""The settings of a run that its numbers depend on, and their hash in result.json."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from metalearn.run.command.grammar import is_path
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.keys import (
    IRRELEVANT,
    NOT_HASHED,
    OF_THE_METHOD,
    OF_THE_WEIGHTS,
    TAKEN_FROM_THE_TRAINING,
    is_below,
    key,
    leaves,
    node,
)
from metalearn.run.directory.origin import Origin
from metalearn.run.directory.secrets import redacted


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of an unresolved config that matter to a result, by key.

    References stay: a value that follows from the seed or from a folder is equal in all runs. A
    null counts as absent, since a later version may add such keys.
    """
    return {key: value for key, value in leaves(config) if value is not None and not is_below(key, IRRELEVANT)}


def composed_settings(config: DictConfig) -> dict[str, Any]:
    """Returns the settings of a composed config, with values in place of environment variables.

    Secrets are struck out.
    """

    def filled(key: str, written: Any) -> Any:
        if "${oc.env:" not in str(written):
            return written
        found = OmegaConf.select(config, key)
        return redacted(OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found)

    plain = redacted(OmegaConf.to_container(config, resolve=False))
    return settings({key: filled(key, written) for key, written in leaves(plain)})


def written_settings(folder: Path) -> dict[str, Any]:
    """Returns the settings of the run in a folder; empty if its config cannot be read."""
    return {key: value for key, value in written_leaves(folder).items() if not is_below(key, IRRELEVANT)}


def written_leaves(folder: Path) -> dict[str, Any]:
    """Returns all values in the config of the run in a folder that are not null; empty likewise."""
    try:
        config = yaml.load(RunFolder(folder).config.read_text(), Loader=yaml.CSafeLoader)
        found = leaves(config) if isinstance(config, dict) else ()
        return {key: value for key, value in found if value is not None}
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}


def tested(own: dict[str, Any], checkpoint: dict[str, Any] | None, trained_with: list[str] | None) -> dict[str, Any]:
    """Returns the settings of a test; those of a training are of its weights, if it has any.

    Settings of the predictor are its own, and beside them those that `trained_with` names.
    """
    trained = Origin.of(checkpoint).settings if checkpoint else {}
    rest = {key: value for key, value in own.items() if not is_below(key, TAKEN_FROM_THE_TRAINING)}
    if trained_with:
        rest["trained_with"] = trained_with
    return rest | {key: value for key, value in trained.items() if is_below(key, TAKEN_FROM_THE_TRAINING)}


def trained_with(own: dict[str, Any], choices: Mapping[str, str], origin: Origin) -> list[str]:
    """Returns the settings of a training that a test of its weights replaces.

    They are those of the predictor and of the data set; of a data set that the test does not have,
    those that were typed. Files and frozen weights are left out, since the tested weights replace
    them.

    Args:
        own: settings of the test.
        choices: names of its data set and algorithm.
        origin: the training.
    """
    if not (trained := origin.settings):  # no run has trained these weights
        return []
    elsewhere = origin.dataset != choices["dataset"]
    parts = OF_THE_METHOD if elsewhere else OF_THE_METHOD | {"dataset"}
    keys = {key for key in own.keys() | trained.keys() if is_below(key, parts)}
    keys = {key for key in keys if not is_path(key) and key not in OF_THE_WEIGHTS}
    other = [] if origin.algorithm == choices["algorithm"] else [f"algorithm={origin.algorithm}"]
    if other:
        keys = {key for key in keys if not is_below(key, {"algorithm"})}
    typed = (override for override in origin.overrides if elsewhere and _is_argument_of_data(node(override)))
    other += [override for override in typed if own.get(node(override), override) != trained.get(node(override))]
    return other + [f"{key}={as_typed(trained.get(key))}" for key in sorted(keys) if own.get(key) != trained.get(key)]


def is_of_another_predictor(trained_with: list[str]) -> bool:
    """Whether a test replaces more of the training of its weights than the data set."""
    return any(is_below(key(setting), OF_THE_METHOD) for setting in trained_with)


def _is_argument_of_data(name: str) -> bool:
    return name.startswith("dataset.") and not (is_below(name, IRRELEVANT) or is_path(name))


def overrides_of_a_test(own: list[str], trained: list[str]) -> list[str]:
    """Returns the overrides of a test; those of a training are of its weights.

    The test has its own precision and callbacks, which may act on its scores.
    """

    def is_of_the_training(override: str) -> bool:
        key = node(override)
        acts = is_below(key, ("trainer.precision", "callbacks")) and not is_below(key, IRRELEVANT)
        return is_below(key, TAKEN_FROM_THE_TRAINING) and not acts

    return [*filter(is_of_the_training, trained), *(o for o in own if not is_of_the_training(o))]


def without_repeats(values: dict[str, Any], class_split: int | None) -> dict[str, Any]:
    """Returns the settings without seed, fold and test, which other fields of a result have.

    `class_split`: that of the result, which then has it in the place of `dataset.fold`.
    """
    fields = NOT_HASHED if class_split is None else NOT_HASHED | {"dataset.fold"}
    return {key: value for key, value in values.items() if not is_below(key, fields)}


def sha256(values: dict[str, Any], class_split: int | None) -> str:
    """Returns the hash of the settings that all seeds, folds and class splits share."""
    shared = without_repeats(values, class_split)
    return hashlib.sha256(json.dumps(shared, sort_keys=True, default=str).encode()).hexdigest()


def as_typed(value: Any) -> str:
    """Returns the text of a value as one types it.

    >>> as_typed(None), as_typed([1, 2]), as_typed("sgd")
    ('null', '[1, 2]', 'sgd')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)
