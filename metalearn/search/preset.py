"""Overrides in place of a preset: with them a trial is a run; hparams_search= would search."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from metalearn.run.directory.keys import key, leaves

GROUP = "hparams_search"


def spelled_out(overrides: Sequence[str], compose: Callable[[list[str]], DictConfig]) -> list[str]:
    """Returns overrides without a preset that compose the same run as these with one.

    Args:
        compose: returns the config of a run with that of Hydra.
    """
    own = [override for override in overrides if key(override) != GROUP]
    if len(own) == len(overrides):
        return own
    wanted, choices = compose(list(overrides)), list[str]()
    # Keys with a dot may exist only with the options that are sought.
    chosen = [override for override in own if "." not in key(override).partition("@")[0]]
    for as_parts in (False, True):  # the name of a part mostly decides its content
        plain = compose([*choices, *chosen])
        choices += [choice for choice in _choices(wanted, plain) if ("@" in key(choice)) == as_parts]
    before = dict(_leaves(compose([*choices, *own])))
    values = [
        f"{'' if path in before else '++'}{path}={typed(value)}"
        for path, value in _leaves(wanted)
        if path not in before or before[path] != value
    ]
    return [*choices, *values, *own]


def _choices(wanted: DictConfig, plain: DictConfig) -> Iterator[str]:
    """Yields the options of groups by which one config differs from the other."""
    plain_choices = plain.hydra.runtime.choices
    for group, option in wanted.hydra.runtime.choices.items():
        derived = group == GROUP or group.startswith("hydra/") or group.endswith("@_global_")
        if plain_choices.get(group) != option and not derived:
            yield f"{group}={'null' if option is None else option}"


def _leaves(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """Yields all values but dictionaries, without Hydra's own; interpolations stay as written."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    yield from leaves({name: child for name, child in plain.items() if name != "hydra"})


def typed(value: Any) -> str:
    """Returns a value as it is typed."""
    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    if isinstance(value, Sequence):
        return f"[{','.join(map(typed, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
