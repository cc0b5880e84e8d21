"""Classes that a config may name.

Every command line imports this file, so it has no heavy imports.
"""

import inspect
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from metalearn.run.directory.keys import parts

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
"""Packages whose classes a config may name.

METALEARN_TARGETS=mypackage. in the environment allows more. A config cannot, since a foreign config
file would then allow itself any class.
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
    "colorlog.ColoredFormatter",  # for hydra/job_logging=colorlog
}
"""Classes that hydra.job_logging and hydra.hydra_logging may name."""


@cache
def allowed() -> tuple[str, ...]:
    """Returns the prefixes of allowed names.

    The environment is read once, at the start of the process, because a config can later change it
    through Hydra.
    """
    return ALLOWED_TARGETS + tuple(filter(None, os.environ.get("METALEARN_TARGETS", "").split(",")))


def check_name(target: Any, path: str) -> str:
    """Returns the class name at `path` of a config. Raises ValueError if it is not allowed."""
    if not isinstance(target, str):
        raise ValueError(f"{path}._target_={target!r:.80} is not the name of a class")
    shown = " ".join(target.split())[:80]
    if "${" in target:
        raise ValueError(f"{path}._target_={shown} is refused: the name of a class must be written out")
    if not target.startswith(allowed()):
        own = f"METALEARN_TARGETS={shown.partition('.')[0]}. in the environment allows a package of your own"
        raise ValueError(f"{path}._target_={shown} is refused: it is not in {', '.join(allowed())}; {own}")
    return target


def locate(target: Any, path: str) -> Any:
    """Returns the class of a `_target_`. Raises ValueError if it is foreign or not importable."""
    module, _, name = check_name(target, path).rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path}._target_={target} cannot be imported: {error}") from error
    # An allowed module also exposes its imports, and a function can do anything. So only classes
    # defined in the package are allowed.
    home = getattr(found, "__module__", "") or ""
    if not inspect.isclass(found) or home.partition(".")[0] != target.partition(".")[0]:
        raise ValueError(f"{path}._target_={target} is refused: it is not a class of {target.partition('.')[0]}")
    return found


def arguments(target: Any) -> Mapping[str, inspect.Parameter]:
    """Returns the arguments of a class by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: p for name, p in inspect.signature(target).parameters.items() if p.kind in named}


def check_targets(config: dict[str, Any]) -> None:
    """Raises ValueError for a foreign class anywhere in a resolved config.

    A remaining interpolation is refused, too: Hydra would resolve it once more, to any value.
    """
    for path, node in nodes_with_target(config):
        locate(node["_target_"], path)
    for path, part in parts(config, ""):
        if isinstance(part, str) and "${" in part:
            raise ValueError(f"{path}={part!r:.80} is refused: it holds an interpolation that is not resolved")


def nodes_with_target(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Returns all parts of a config that name a class, each with its key."""
    return ((key, part) for key, part in parts(config, "") if isinstance(part, dict) and "_target_" in part)
