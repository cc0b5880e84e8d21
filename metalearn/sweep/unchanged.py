"""Jobs of a sweep that have trained must have the config that they would have now.

Otherwise an edit of a config file between two commands would mix two experiments in one sweep, or
in one job.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metalearn.run.command.grammar import expand_user_paths
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.keys import is_below, key, node
from metalearn.run.settings import as_typed, settings, written_settings
from metalearn.sweep.jobs import Job


def check(
    begun: Iterable[Job],
    sweep: DictConfig,
    compose: Callable[[int, list[str]], DictConfig],
    is_group: Callable[[str], bool],
) -> None:
    """Raises ValueError in one line for a job that ran with another config.

    A job is compared only if a config file has changed since it began. Jobs that differ in values
    alone, such as seeds, are composed once.

    Args:
        begun: finished jobs, and those that would continue from a checkpoint.
        sweep: config of the sweep.
        compose: composes a job by its number and its overrides.
        is_group: whether a key names a group of the config.
    """
    edited = _last_edit(sweep)
    composed: dict[tuple[str, ...], dict[str, Any]] = {}
    for job in begun:
        config = RunFolder(job.folder).config
        if not config.is_file() or config.stat().st_mtime > edited:
            continue
        alike = tuple(arg if is_group(key(arg)) else node(arg) for arg in job.overrides)
        if alike not in composed:
            composed[alike] = _settings(compose(job.number, job.overrides))
        before, now = written_settings(job.folder), composed[alike]
        unlike = (name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name))
        if name := next((name for name in unlike if not is_below(name, alike)), None):
            raise ValueError(
                f"job {job.number} ran with {name}={as_typed(before.get(name))}, which a config file now has as "
                f"{as_typed(now.get(name))}: undo the edit, or name another sweep with hydra.sweep.dir=DIR"
            )


def _settings(config: DictConfig) -> dict[str, Any]:
    expand_user_paths(config)
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return settings(plain)


def _last_edit(sweep: DictConfig) -> float:
    """Returns when the last config file changed; copying may keep its time of writing."""
    folders = [source.path for source in sweep.hydra.runtime.config_sources if source.schema == "file"]
    return max((path.stat().st_ctime for folder in folders for path in _config_files(folder)), default=0.0)


def _config_files(folder: str) -> Iterator[Path]:
    for place, inner, names in os.walk(folder):
        if ".hydra" in inner:  # a run, whose own files are no source
            inner.clear()
        else:
            yield from (Path(place, name) for name in names if name.endswith(".yaml"))
