"""Plugins of Hydra: how the jobs of a sweep are run, and how a search chooses them."""

import sys
from importlib import import_module
from types import ModuleType

from hydra.core.plugins import Plugins

from metalearn.search.sweeper import OptunaSweeper
from metalearn.sweep.ray.launcher import RayLauncher
from metalearn.sweep.slurm.launcher import SlurmLauncher
from metalearn.sweep.subprocess_launcher import SubprocessLauncher


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
    for plugin in (SubprocessLauncher, SlurmLauncher, RayLauncher, OptunaSweeper):
        plugin.__module__ = "hydra_plugins.metalearn"
        Plugins.instance().register(plugin)
