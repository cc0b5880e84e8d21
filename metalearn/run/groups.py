"""The groups of the config: which of them are chosen by name, and which come along with another."""

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType

COME_ALONG = {
    "local": "it is read from conf/local/default.yaml",
    "pair": "it comes with the data set, the algorithm and the backbone",
    "problem": "it comes with the data set: dataset=sinusoid is a regression",
    "recipe": "it comes with the algorithm: algorithm=NAME",
}
"""Groups that no one chooses, and where each comes from."""


def choices() -> str:
    """A line for each group that leaves a choice, such as "backbone: conv4, mlp"; a search path may add to them."""
    loader = GlobalHydra.instance().config_loader()
    groups = [name for name in loader.get_group_options("", ObjectType.GROUP) if name not in COME_ALONG]
    options = {name: loader.get_group_options(name, ObjectType.CONFIG) for name in groups}
    return "".join(f"{name}: {', '.join(names)}\n" for name, names in options.items() if len(names) > 1)
