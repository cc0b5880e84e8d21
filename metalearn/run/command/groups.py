"""The groups of the config: those that are chosen by name, and those that come with others."""

from collections import defaultdict
from collections.abc import Iterable

from hydra.conf import HydraConf
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

COME_ALONG = {
    "local": "it is read from conf/local/default.yaml",
    "pair": "it comes with the data set, the algorithm and the backbone",
    "problem": "it comes with the data set: dataset=sinusoid is a regression",
    "recipe": "it comes with the algorithm: algorithm=NAME",
}
"""Groups that are not chosen by name, and the origin of each."""

WHOLE = ("experiment", "hparams_search", "debug")
"""Groups whose files change any part of a config."""


def choices() -> str:
    """Returns a line for each group with several options, such as "backbone: conv4, mlp".

    Groups of a search path are included.
    """
    loader = GlobalHydra.instance().config_loader()
    groups = [name for name in loader.get_group_options("", ObjectType.GROUP) if name not in COME_ALONG]
    options = {name: loader.get_group_options(name, ObjectType.CONFIG) for name in groups}
    return "".join(f"{name}: {', '.join(names)}\n" for name, names in options.items() if len(names) > 1)


def chosen(hydra: HydraConf, group: str) -> str | list[str] | None:
    """Returns the option of a group, or the options of a list.

    Args:
        hydra: Hydra's own config, of the loader that records lists (guard.py).
        group: name of the group, such as "experiment".
    """
    option = hydra.runtime.choices.get(group)
    if isinstance(option, ListConfig):
        return list(option)
    return None if option is None else str(option)


def record_lists(choices: DictConfig, defaults: Iterable[ResultDefault]) -> None:
    """Adds the options of lists such as experiment=[a,b], which Hydra leaves out, to its choices.

    Args:
        choices: recorded options by group.
        defaults: files of the config, in their order.
    """
    options = defaultdict[str, list[str]](list)
    for default in defaults:
        group, _, option = (default.config_path or "").partition("/")
        is_extended = (default.parent or "").startswith(f"{group}/")  # by another option of the list
        if group in WHOLE and choices.get(group) is None and not is_extended:
            options[group].append(option)
    with open_dict(choices):
        choices.update({group: list(dict.fromkeys(of_group)) for group, of_group in options.items()})


def typed_overrides(hydra: HydraConf) -> list[str]:
    """Returns the typed overrides; interpolations stay, since they may stand for a secret."""
    return OmegaConf.to_container(hydra.overrides.task, resolve=False)  # type: ignore[return-value]
