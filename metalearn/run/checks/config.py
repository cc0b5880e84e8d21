"""Checks of a composed config, before anything is built; each fault gives one line."""

from typing import Any

from metalearn.losses import OBJECTIVES
from metalearn.run.checks.callbacks import check_callbacks
from metalearn.run.checks.inputs import check_same_input, check_taken_shape, check_text
from metalearn.run.checks.kinds import check_kind
from metalearn.run.checks.rules import check_protocol, check_train_split
from metalearn.run.checks.schema import Settings, check_settings
from metalearn.run.checks.signatures import check_arguments
from metalearn.run.checks.trainer import check_trainer
from metalearn.run.command.allowed import nodes_with_target


def check_config(config: dict[str, Any]) -> None:
    """Raises ValueError for an unknown key, a value of the wrong type, or a foreign class."""
    check_settings(config, Settings, "")
    if not 0 <= config["seed"] < 2**32:
        raise ValueError(f"seed is {config['seed']}; it must be from 0 to {2**32 - 1}")
    if config.get("test_dataset"):
        check_same_input(config["dataset"], config["test_dataset"])
    check_taken_shape(config["dataset"], config["backbone"])
    check_text(config["dataset"], config["backbone"], config["augmentation"])
    check_protocol(config)
    for path, node in nodes_with_target(config):
        check_arguments(node, path)
        check_kind(node, path)
    if config["mode"] == "train" and config["checkpoint"]:
        raise ValueError("checkpoint=PATH is for mode=test; to continue a training use resume=DIR")
    if config["mode"] == "test" and config["resume"]:
        raise ValueError("resume=DIR continues a training; to test its weights use mode=test checkpoint=DIR")
    check_trainer(config["trainer"])
    check_callbacks(config["callbacks"], config["trainer"]["precision"], OBJECTIVES[config["problem"]].score_name)
    check_train_split(config)
