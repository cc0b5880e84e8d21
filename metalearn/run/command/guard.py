"""Guards Hydra: it builds allowed classes only, hides no file, and writes no secrets.

Hydra builds its own callbacks, launchers and logging before a run can check its config. It has no
hook there, so two functions and a class of Hydra 1.3 are wrapped; tests fail if they move.
"""

import logging
import re
from pathlib import Path
from typing import Any

from hydra._internal import hydra as hydra_application
from hydra._internal import logging_config
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.instantiate import _instantiate2
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from metalearn.run.command.allowed import LOGGING, allowed, locate
from metalearn.run.command.conf import check_hidden
from metalearn.run.command.groups import record_lists
from metalearn.run.directory.secret_names import is_secret
from metalearn.run.directory.secrets import redacted, refuse_written

CHOOSES_CODE = re.compile(r"(METALEARN_TARGETS|PATH|(HYDRA|PYTHON|LD|DYLD|GIT)_?\w*)$")
"""Variables that choose the code of a process; a config must not set them."""

SHIPPED = {f"hydra.experimental.callbacks.{name}" for name in ("LogJobReturnCallback", "PickleJobInfoCallback")}
LOGGING_KEYS = "hydra.job_logging or hydra.hydra_logging:"
SINGLE = "hydra.mode=RUN"  # Hydra adds it to the overrides of a command line that is no sweep
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")

_resolve_target, _configure_logging = _instantiate2._resolve_target, logging_config.configure_logging


def install() -> None:
    """Installs the guards, with the classes that the environment allows now."""
    allowed.cache_clear()
    allowed()
    vars(hydra_application)["ConfigLoaderImpl"] = WatchedLoader
    _instantiate2._resolve_target = _resolve_watched
    logging_config.configure_logging = _configure_watched


class WatchedLoader(ConfigLoaderImpl):
    """Loader of configs, for the command line and for each job of a sweep.

    Hydra composes a command line twice, the first time to learn whether it is a sweep. The second
    config of a single run is the first with its mode, so it is not composed again. The choices of a
    config have the lists of experiments too, which Hydra does not record.
    """

    _first: tuple[list[str], DictConfig] | None = None
    _defaults: list[ResultDefault]

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        first, self._first = self._first, None
        if first is not None and overrides == [*first[0], SINGLE]:
            return self._single(first[1], overrides, from_shell)
        try:
            config = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        except KeyError as error:
            raise ValueError(f"hydra.job.env_copy: the environment has no variable {error}") from error
        given = [source for source in config.hydra.runtime.config_sources if source.provider not in ("hydra", "main")]
        check_hidden([Path(source.path) for source in given if source.schema == "file"])
        check_environment(config.hydra.job.env_set, config.hydra.job.env_copy)
        record_lists(config.hydra.runtime.choices, self._defaults)
        refuse_written(OmegaConf.to_container(config, resolve=False))
        # Only a single run is refused where a group has no option.
        if not validate_sweep_overrides and "???" not in config.hydra.runtime.choices.values():
            self._first = list(overrides), config
        return config

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        self._defaults = defaults
        return super()._compose_config_from_defaults_list(defaults, repo)

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        if config_name or overrides:
            return super().get_group_options(group_name, results_filter, config_name, overrides)
        # Hydra copies all its sources for each of the 160 calls of --help, half of its time.
        return self.repository.get_group_options(group_name, results_filter)

    def _single(self, config: DictConfig, overrides: list[str], from_shell: bool) -> DictConfig:
        parsed = OverridesParser.create().parse_overrides(overrides)
        self.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell)
        config.hydra.mode = RunMode.RUN
        config.hydra.overrides.hydra.append(SINGLE)
        return config


def check_environment(env_set: DictConfig, env_copy: list[str]) -> None:
    """Raises ValueError for variables that hold secrets or choose the code of a process."""
    for name in env_copy:
        if is_secret(name, "x"):
            raise ValueError(
                f"hydra.job.env_copy={name} would be written down: leave it out, since a run inherits the environment"
            )
    for variable in map(str, env_set):
        if CHOOSES_CODE.match(variable):
            raise ValueError(f"hydra.job.env_set.{variable} is refused: set it before the command, in the environment")


def check_logging(config: Any, path: str) -> None:
    """Raises ValueError for a class or an object that a logging config may not name."""
    if isinstance(config, dict):
        for name, child in config.items():
            is_class = name in ("class", "()", "listener", "queue")
            if is_class and not (isinstance(child, str) and child in LOGGING):
                classes = ", ".join(sorted(LOGGING))
                raise ValueError(f"{LOGGING_KEYS} {path}.{name}={child!r:.80} is refused: choose from {classes}")
            check_logging(child, f"{path}.{name}" if path else str(name))
    elif isinstance(config, list):
        for child in config:
            check_logging(child, path)
    elif isinstance(config, str) and "ext://" in config and config not in STREAMS:
        raise ValueError(f"{LOGGING_KEYS} {path}={config!r:.80} is refused: choose from {', '.join(STREAMS)}")


class RedactingFormatter(logging.Formatter):
    """Formatter that removes secrets from messages and tracebacks.

    Args:
        inner: formatter that makes the text.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        text: str = redacted(self.inner.format(record))
        return text


def _configure_watched(config: dict[str, Any]) -> None:
    check_logging(config, "")
    _configure_logging(config)
    for handler in logging.getLogger().handlers:
        if not isinstance(handler.formatter, RedactingFormatter):
            handler.setFormatter(RedactingFormatter(handler.formatter or logging.Formatter()))


def _resolve_watched(target: Any, full_key: str) -> Any:
    plugins = Plugins.instance().class_name_to_class
    names = SHIPPED | set(plugins) | {f"{plugin.__module__}.{plugin.__qualname__}" for plugin in plugins.values()}
    if not (isinstance(target, str) and target in names):
        locate(target, full_key)
    return _resolve_target(target, full_key)
