"""Checks of all classes in a config."""

from collections.abc import Iterator
from typing import Any

from metalearn.run.command.allowed import locate
from metalearn.run.directory.keys import parts


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
