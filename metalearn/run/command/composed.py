"""Values of the config of a command line, before Hydra's main composes it."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn.run.command.conf import conf_dir


def outputs(argv: Sequence[str]) -> Path:
    """Returns the folder of run directories, paths.outputs, which any config may set.

    A command line that cannot be composed gets the default; Hydra's main explains the fault.
    """
    given = get_args_parser().parse_args(argv)
    folders = create_config_search_path(conf_dir())
    if given.config_dir:
        folders.prepend("command-line", f"file://{os.path.abspath(given.config_dir)}", anchor="schema")
    mode = RunMode.MULTIRUN if given.multirun else RunMode.RUN
    try:
        with warnings.catch_warnings(action="ignore"):  # main warns of them
            config = ConfigLoaderImpl(folders).load_configuration(given.config_name or "config", given.overrides, mode)
        return Path(OmegaConf.select(config, "paths.outputs")).expanduser()
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, OSError):
        return Path("outputs")
