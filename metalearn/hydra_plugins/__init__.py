"""Plugins of Hydra: how the jobs of a sweep are run, and how a search chooses them."""

import sys
from importlib import import_module
from types import ModuleType

from hydra.core.plugins import Plugins

from metalearn.search.sweeper import OptunaSweeper
from metalearn.sweep.ray.launcher import RayLauncher
from metalearn.sweep.slurm.launcher import SlurmLauncher
from metalearn.sweep.subprocess_launcher import SubprocessLauncher

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def register() -> None:
    """Make the plugins known to Hydra, which takes them from `hydra_plugins.*` only.

    So this package has that as a second name. A real one would be found in a wheel and not in an editable install.
    """
    try:
        parent = import_module("hydra_plugins")
    except ModuleNotFoundError:
        parent = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        parent.__path__ = []
    sys.modules["hydra_plugins.metalearn"] = sys.modules[__name__]
    parent.metalearn = sys.modules[__name__]  # type: ignore[attr-defined]
    plugins = Plugins.instance()  # imports Hydra's own anew
    from metalearn.sweep.product_sweeper import ProductSweeper

    for plugin in (SubprocessLauncher, SlurmLauncher, RayLauncher, OptunaSweeper):
        plugin.__module__ = "hydra_plugins.metalearn"
        plugins.register(plugin)
    # In the place of Hydra's own: if our config chose another by name, hparams_search could not choose its sweeper.
    plugins.class_name_to_class[BASIC_SWEEPER] = ProductSweeper


def explained(error: RuntimeError) -> str | None:
    """Hydra's message about a launcher or sweeper that it does not know, as one line; None for any other error."""
    text = str(error)
    if "plugin" not in text.lower() or "'" not in text:
        return None
    ours = "hydra/launcher=subprocess, slurm or ray, and hydra/sweeper=optuna"
    return f"there is no plugin {text.split(chr(39))[1]}: metalearn has {ours} of its own, which need no _target_"
