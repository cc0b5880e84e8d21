"""Settings that a resumed training takes from its checkpoint, whatever the config says.

Optimizers and schedulers of torch and Lightning's EarlyStopping put their settings into their
state. A schedule of ours has no state: its factor follows from the fraction that is done.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from metalearn.run.command.grammar import is_path
from metalearn.run.directory.keys import IRRELEVANT, OF_THE_METHOD, is_below, key, node
from metalearn.run.directory.origin import Origin
from metalearn.run.directory.secrets import redacted
from metalearn.run.settings import as_typed, trained_with

log = logging.getLogger(__name__)


def restored(config: dict[str, Any]) -> dict[str, Any]:
    """Returns by key the settings of a plan that are restored with the state of a training."""
    parts = {"optimizer": config["optimizer"]}
    if config["scheduler"].get("_partial_"):
        parts["scheduler"] = config["scheduler"]
    for name, callback in config["callbacks"].items():
        if "patience" in callback:
            parts[f"callbacks.{name}"] = {"patience": callback["patience"]}
    by_key = {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}
    return dict(redacted(by_key))


def check_continued(checkpoint: dict[str, Any] | None, config: dict[str, Any], optimizer: Optimizer) -> None:
    """Raises ValueError if a training cannot continue from a checkpoint with the config."""
    if checkpoint is None:
        return
    check_restored(Origin.of(checkpoint).restored, config)
    check_optimizer(checkpoint["optimizer_states"][0], optimizer)


def check_limits(checkpoint: dict[str, Any], trainer: dict[str, Any], run: Path) -> None:
    """Raises ValueError if a run has trained longer than the config of the trainer allows."""
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    for unit, done in {"steps": checkpoint["global_step"], "epochs": epochs}.items():
        if 0 < (limit := trainer[f"max_{unit}"]) < done:
            raise ValueError(f"{run} has already trained {done} {unit}: raise trainer.max_{unit}={limit}")


def check_predictor(origin: Origin, settings: dict[str, Any], choices: Mapping[str, str], run: Path) -> None:
    """Raises ValueError if the config has another predictor than the one that meta-val scored."""
    replaced = trained_with(settings, choices, origin)
    if before := ", ".join(setting for setting in replaced if is_below(key(setting), OF_THE_METHOD)):
        remedy = f"type it again, or begin anew with pretrained={run}"
        raise ValueError(f"{run} chose its best weights with {before}, which the config now changes: {remedy}")


def warn_of_edits(origin: Origin, settings: dict[str, Any], overrides: Iterable[str]) -> None:
    """Warns of settings that a file has changed since the run began, and that nobody has typed."""
    before, names = origin.settings, sorted(origin.settings.keys() | settings.keys())
    new = (node(override) for override in overrides if override not in origin.overrides)
    typed = {name for name in new if not is_below(name, IRRELEVANT)}
    if not {name.partition(".")[0] for name in typed} <= {name.partition(".")[0] for name in names}:
        return  # a typed option of a group such as debug sets keys of several parts
    edited = [
        f"{name}={as_typed(settings.get(name))} (before: {as_typed(before.get(name))})"
        for name in names
        if before.get(name) != settings.get(name) and not (is_path(name) or is_below(name, typed))
    ]
    if edited:
        message = "the files of the config have changed since this run began: it continues with %s"
        log.warning(message, ", ".join(edited))


def check_base_classes_again(origin: Origin, names: list[str]) -> None:
    """Raises ValueError if the outputs of a trained head would stand for other base classes."""
    for before, now in zip(origin.classes, names, strict=False):  # classes of an earlier run follow
        if before != now:
            raise ValueError(
                f"resume: the head was trained with {before!r} in the place of the base class {now!r}: restore the "
                "classes of meta-train, or begin anew, with the trained backbone, by pretrained=CHECKPOINT"
            )


def check_restored(before: dict[str, Any], config: dict[str, Any]) -> None:
    """Raises ValueError if the state of a checkpoint would replace a setting of the config."""
    now = restored(config)
    for name in sorted(before.keys() | now.keys()):
        if name.startswith("callbacks.") and name not in before.keys() & now.keys():
            continue  # a callback that is new, or left out
        if before.get(name) != now.get(name):
            raise ValueError(
                f"resume continues with {name}={before.get(name)} of the checkpoint, so {name}={now.get(name)} would "
                "change nothing: leave it out, or begin anew, with the trained backbone, by pretrained=CHECKPOINT"
            )


def check_optimizer(held: dict[str, Any], optimizer: Optimizer) -> None:
    """Raises ValueError if a resumed checkpoint holds the state of another optimizer."""
    both = held["param_groups"], optimizer.param_groups
    counts = [len(groups) for groups in both]
    if counts[0] != counts[1]:
        raise ValueError(
            f"resume: the checkpoint holds {counts[0]} groups of weights and the config makes {counts[1]}: "
            "optimizer.backbone_lr must stay null, or a number"
        )
    trained = [sum(len(group["params"]) for group in groups) for groups in both]
    if trained[0] != trained[1]:
        raise ValueError(
            f"resume: the checkpoint trains {trained[0]} weight tensors and the config {trained[1]}: leave out what "
            "freezes or trains others, or begin anew, with the trained backbone, by pretrained=CHECKPOINT"
        )
    theirs, own = set(held["param_groups"][0]), set(optimizer.state_dict()["param_groups"][0])
    settled_later = {"initial_lr"}  # a schedule adds it
    if different := (theirs ^ own) - settled_later:
        raise ValueError(
            f"resume: the checkpoint holds the state of another optimizer than {type(optimizer).__name__}: they "
            f"differ in {min(different)}; to begin anew with another optimizer, use pretrained=CHECKPOINT"
        )
