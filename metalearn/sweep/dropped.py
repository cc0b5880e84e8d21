"""Settings of a sweep that a job brings along, which Hydra drops without a word.

Hydra composes a sweep without the choices that vary, so an experiment in a list cannot choose the
launcher, the sweeper or the directory of the sweep. No experiment can choose the launcher, alone or
in a list, since conf/config.yaml chooses one itself.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from metalearn.run.command.groups import WHOLE, chosen
from metalearn.run.directory.keys import leaves

SECTIONS = ("launcher", "sweeper", "sweep")
LAUNCHER = "hydra/launcher"


def check(
    job: DictConfig,
    sweep: DictConfig,
    plain: Callable[[], DictConfig],
    *,
    typed: Collection[str],
) -> None:
    """Raises ValueError for a setting that comes too late, in one line.

    Args:
        job: composed config of a job.
        sweep: config of the sweep, which is in force.
        plain: composes a job without overrides, with what is typed for the sweep.
        typed: keys that are typed for Hydra itself.
    """
    remedy = "type it for the whole sweep, or leave it out of the file"
    choices = {group: option for group in WHOLE if (option := chosen(job.hydra, group))}
    words = " ".join(f"{group}={_written(option)}" for group, option in choices.items())
    several = ((group, [option] if isinstance(option, str) else option) for group, option in choices.items())
    names = [f"{group}/{option}" for group, options in several for option in options]
    for launcher in (_launcher(job, name) for name in names):
        if launcher not in (None, sweep.hydra.runtime.choices[LAUNCHER]) and LAUNCHER not in typed:
            raise ValueError(f"{words} chooses {LAUNCHER}={launcher}, which conf/config.yaml overrides: {remedy}")
    if unlike := _differences(job, sweep):
        own = _differences(job, plain())
        for name in (name for name in own if name in unlike):
            raise ValueError(f"{words} sets {name}={own[name]}, which cannot change a sweep that has begun: {remedy}")


def _written(option: str | list[str]) -> str:
    return option if isinstance(option, str) else f"[{','.join(option)}]"


def _launcher(job: DictConfig, name: str) -> str | None:
    """Returns the launcher that the defaults list of an option chooses."""
    sources = (Path(source.path) for source in job.hydra.runtime.config_sources if source.schema == "file")
    file = next((path for source in sources if (path := source / f"{name}.yaml").is_file()), None)
    content = yaml.safe_load(file.read_text()) if file is not None else None
    for default in (content or {}).get("defaults", []):
        for group, option in default.items() if isinstance(default, dict) else ():
            if group.removeprefix("override").strip(" /") == LAUNCHER:
                return str(option)
    return None


def _differences(job: DictConfig, other: DictConfig) -> dict[str, Any]:
    """Returns the settings of a job for the sweep that another config has otherwise."""
    theirs = dict(_settings(other))
    return {name: value for name, value in _settings(job) if theirs.get(name, ...) != value}


def _settings(config: DictConfig) -> Iterator[tuple[str, Any]]:
    for section in SECTIONS:
        node = OmegaConf.to_container(config.hydra[section], resolve=False)
        assert isinstance(node, Mapping)
        yield from leaves(node, f"hydra.{section}.")
