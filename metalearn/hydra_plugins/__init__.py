"""Plugins of Hydra: launchers for the jobs of a sweep, and the sweeper of a search."""

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
    """Registers the plugins with Hydra.

    Hydra accepts plugins from `hydra_plugins.*` only, so this package gets that second name. A
    real package `hydra_plugins` would be missing from an editable install.
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
    # Replaces Hydra's sweeper under its own name. A config that named another sweeper would keep
    # hparams_search from choosing one.
    plugins.class_name_to_class[BASIC_SWEEPER] = ProductSweeper


def explained(error: RuntimeError) -> str | None:
    """Returns Hydra's message about an unknown launcher or sweeper in one line; else None."""
    text = str(error)
    if "plugin" not in text.lower() or "'" not in text:
        return None
    ours = "hydra/launcher=subprocess, slurm or ray, or hydra/sweeper=optuna, without _target_"
    name = text.split("'")[1]
    return f"there is no plugin {name}: use {ours}"
