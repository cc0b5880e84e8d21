"""Classes that a config may name. Without heavy imports, since every command line needs it."""

import inspect
import os
from functools import cache
from importlib import import_module
from typing import Any

ALLOWED_TARGETS = (
    *(f"metalearn.{room}." for room in ("algorithms", "backbones", "data", "episodes", "run", "training")),
    "torch.optim.",
    "torch.nn.",
    "torchmetrics.",
    *(
        f"lightning.pytorch.{part}"
        for part in ("Trainer", "callbacks.", "loggers.", "plugins.", "profilers.", "strategies.")
    ),
)
"""A config may name classes of these packages; METALEARN_TARGETS=mypackage. in the environment allows more.

The environment, not the config: otherwise a config file from elsewhere could allow itself anything.
"""

LOGGING = {
    "logging.FileHandler",
    "logging.Filter",
    "logging.Formatter",
    "logging.NullHandler",
    "logging.StreamHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
    "logging.handlers.WatchedFileHandler",
    "colorlog.ColoredFormatter",  # of hydra/job_logging=colorlog
}
"""Classes that hydra.job_logging and hydra.hydra_logging may name."""


@cache
def allowed() -> tuple[str, ...]:
    """Beginnings of names that are allowed.

    The environment is read once, when the process starts: Hydra changes it by what a config says.
    """
    return ALLOWED_TARGETS + tuple(filter(None, os.environ.get("METALEARN_TARGETS", "").split(",")))


def check_name(target: Any, path: str) -> str:
    """The name of a class, as a config has it at `path`. Raises ValueError for one that is not allowed."""
    if not isinstance(target, str):
        raise ValueError(f"{path}._target_={target!r:.80} is not the name of a class")
    shown = " ".join(target.split())[:80]
    if "${" in target:
        raise ValueError(f"{path}._target_={shown} is refused: the name of a class must stand there itself")
    if not target.startswith(allowed()):
        raise ValueError(f"{path}._target_={shown} is refused: it is in none of {', '.join(allowed())}")
    return target


def locate(target: Any, path: str) -> Any:
    """The class of a `_target_`. Raises ValueError when it is foreign, or cannot be imported."""
    module, _, name = check_name(target, path).rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path}._target_={target} cannot be imported: {error}") from error
    # A module of an allowed package gives access to what it imports, and a function can do anything: only classes that
    # are defined in the package count.
    home = getattr(found, "__module__", "") or ""
    if not inspect.isclass(found) or home.partition(".")[0] != target.partition(".")[0]:
        raise ValueError(f"{path}._target_={target} is refused: it is no class of {target.partition('.')[0]}")
    return found
