"""The overrides of a run as a file of the group experiment."""

from collections.abc import Callable, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf


def as_experiment(overrides: Sequence[str], is_group: Callable[[str], bool]) -> str:
    """Returns the text of experiment/best.yaml, which composes the same run as these overrides.

    Args:
        overrides: such as algorithm=maml, optimizer.lr=0.1.
        is_group: whether a key without its package, such as "algorithm", is a group.

    Raises ValueError for what no such file can express: an override that deletes something, or
    experiment=best.
    """
    included, defaults = list[str](), list[dict[str, Any]]()
    values = OmegaConf.create()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        line, name = override.input_line, override.key_or_group
        if override.is_delete():
            raise ValueError(f"{line} deletes a setting, so no experiment has the best parameters")
        if name == "experiment" and override.package is None:
            chosen: Any = override.value()
            included += chosen if isinstance(chosen, list) else [chosen]
            if "best" in included:
                raise ValueError(f"{line} cannot be part of a file of its name: copy it under another name")
        elif override.package is not None or is_group(name):
            prefix = "" if override.is_add() else "override "
            defaults.append({f"{prefix}/{override.get_key_element().lstrip('+')}": override.value()})
        else:
            OmegaConf.update(values, name, override.value(), force_add=True)
    # A file of the group experiment cannot override that group, but it can include other files.
    content = {"defaults": [*included, *defaults]} if included or defaults else {}
    content |= OmegaConf.to_container(values, resolve=False)  # type: ignore[arg-type]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000) if content else ""
