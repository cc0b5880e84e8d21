"""Values of the config of a command line, before Hydra's main composes it."""

import os
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn.run.command.conf import conf_dir


def outputs(argv: Sequence[str]) -> Path:
    """Returns the folder of run directories, paths.outputs, which any config may set.

    A command line that cannot be composed gets the default; Hydra's main explains the fault.
    """
    given = get_args_parser().parse_args(argv)
    try:
        return Path(OmegaConf.select(compose(given, given.overrides), "paths.outputs")).expanduser()
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, KeyError, OSError):
        return Path("outputs")


def compose(given: Namespace, overrides: list[str]) -> DictConfig:
    """Returns the config of some overrides, with Hydra's node, by the flags of a command line.

    Raises KeyError if hydra.job.env_copy names an absent variable.
    """
    folders = create_config_search_path(conf_dir())
    if given.config_dir:
        folders.prepend("command-line", f"file://{os.path.abspath(given.config_dir)}", anchor="schema")
    mode = RunMode.MULTIRUN if given.multirun else RunMode.RUN
    with warnings.catch_warnings(action="ignore"):  # main warns of them
        return ConfigLoaderImpl(folders).load_configuration(given.config_name or "config", overrides, mode)
