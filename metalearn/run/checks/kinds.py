"""Checks of the classes of a config: each part has the interface that a run needs."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.run.command.allowed import locate
from metalearn.training.evaluations.base import AbstractEvaluation

BASES = {
    "algorithm": AbstractAlgorithm,
    "evaluation.further": AbstractEvaluation,
    "callbacks.*": pl.Callback,
    "logger.*": Logger,
}
"""Classes from which those of the parts derive."""

UNUSABLE = {
    torch.optim.LBFGS: "computes the loss several times in a step",
    torch.optim.SparseAdam: "takes sparse gradients alone",
}
"""Optimizers of torch that a run cannot use, with the reason."""


def check_kind(node: dict[str, Any], path: str) -> None:
    """Raises ValueError if the class of a part lacks a method, an attribute or its base."""
    target = locate(node["_target_"], path)
    base = BASES.get(path, BASES.get(f"{path.rpartition('.')[0]}.*"))
    if base is not None and not issubclass(target, base):
        raise ValueError(f"{path}: {target.__name__} does not derive from {base.__module__}.{base.__name__}")
    for unusable, why in UNUSABLE.items():
        if issubclass(target, unusable):
            raise ValueError(f"{path}: {target.__name__} {why}: use optimizer=adam, adamw or sgd")
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if missing:
        raise ValueError(f"{path}: {target.__name__} leaves out the method {missing[0]}")
    if path in ("dataset", "test_dataset") and not hasattr(target, "load"):
        raise ValueError(f"{path}: {target.__name__} has no load, which it needs (docs/extending.md)")
