"""Which classes a config may name."""

import inspect
import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

ALLOWED_TARGETS = (
    "metalearn.",
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


def locate(target: str, path: str) -> Any:
    """The class of a `_target_`. Raises ValueError when it is foreign, or cannot be imported."""
    extra = tuple(filter(None, os.environ.get("METALEARN_TARGETS", "").split(",")))
    allowed = ALLOWED_TARGETS + extra
    if not target.startswith(allowed):
        raise ValueError(f"{path}._target_={target} is refused: it is in none of {', '.join(allowed)}")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path}._target_={target} cannot be imported: {error}") from error
    # A module of an allowed package gives access to what it imports, and a function can do anything: only classes that
    # are defined in the package count, and the functions that make our loggers.
    home = getattr(found, "__module__", "") or ""
    is_logger = inspect.isfunction(found) and home == "metalearn.run.loggers"
    if not (inspect.isclass(found) or is_logger) or home.partition(".")[0] != target.partition(".")[0]:
        raise ValueError(f"{path}._target_={target} is refused: it is no class of {target.partition('.')[0]}")
    return found


def nodes_with_target(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All parts of a config that name a class, each with its key."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for name, child in node.items():
            yield from nodes_with_target(child, f"{path}.{name}" if path else str(name))
    elif isinstance(node, list):
        for position, child in enumerate(node):
            yield from nodes_with_target(child, f"{path}[{position}]")
