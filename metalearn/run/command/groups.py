"""The groups of the config: those that are chosen by name, and those that come with others."""

from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf

from metalearn.run.command.grammar import key, value

COME_ALONG = {
    "local": "it is read from conf/local/default.yaml",
    "pair": "it comes with the data set, the algorithm and the backbone",
    "problem": "it comes with the data set: dataset=sinusoid is a regression",
    "recipe": "it comes with the algorithm: algorithm=NAME",
}
"""Groups that are not chosen by name, and the origin of each."""


def choices() -> str:
    """Returns a line for each group with several options, such as "backbone: conv4, mlp".

    Groups of a search path are included.
    """
    loader = GlobalHydra.instance().config_loader()
    groups = [name for name in loader.get_group_options("", ObjectType.GROUP) if name not in COME_ALONG]
    options = {name: loader.get_group_options(name, ObjectType.CONFIG) for name in groups}
    return "".join(f"{name}: {', '.join(names)}\n" for name, names in options.items() if len(names) > 1)


def chosen(hydra: HydraConf, group: str) -> str | list[str] | None:
    """Returns the option of a group, or the options of a typed list, which Hydra does not record.

    Args:
        hydra: Hydra's own config.
        group: name of the group, such as "experiment".
    """
    if (option := hydra.runtime.choices.get(group)) is not None:
        return str(option)
    typed = (override for override in typed_overrides(hydra) if not override.startswith("~"))
    return next((value(override) for override in typed if key(override) == group), None) or None


def typed_overrides(hydra: HydraConf) -> list[str]:
    """Returns the typed overrides; interpolations stay, since they may stand for a secret."""
    return OmegaConf.to_container(hydra.overrides.task, resolve=False)  # type: ignore[return-value]
