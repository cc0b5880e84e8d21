"""Names of runs that a person can read: algorithm, data set, setting, backbone and seed."""

import hashlib
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from metalearn.run.command.grammar import alike
from metalearn.run.command.groups import typed_overrides
from metalearn.run.directory import sweep_record
from metalearn.run.directory.keys import node

IN_NAME = {"algorithm", "backbone", "dataset", "seed", "episode.test.way", "episode.test.shot"}
"""Keys whose values are in every name."""

LONGEST = 200
"""Limit of a name in bytes; file systems take 255, and TensorBoard makes a folder of it."""


def run_name(_root_: DictConfig) -> str:
    """Names a run, such as "maml-glyphs-5w1s-conv4-s0"; a job of a sweep adds what else varies."""
    hydra = HydraConfig.get()
    chosen = hydra.runtime.choices
    parts = [chosen["algorithm"], chosen["dataset"], setting(_root_), chosen["backbone"]]
    name = "-".join([*parts, f"s{_root_.seed}"])
    own = varied(Path(hydra.runtime.output_dir), typed_overrides(hydra))
    return _shortened(" ".join([name, *own]).replace("/", "_"))


def _shortened(name: str) -> str:
    """Cuts a long name; a hash at its end distinguishes it from others that begin alike."""
    if len(content := name.encode()) <= LONGEST:
        return name
    mark = f"-{hashlib.sha256(content).hexdigest()[:8]}"
    return content[: LONGEST - len(mark)].decode(errors="ignore") + mark


def setting(config: DictConfig) -> str:
    """Names the episodes of meta-test: "5w1s", or "10s" for a regression with one output."""
    test = config.episode.test
    return ("" if test.way == 1 else f"{_span(test.way)}w") + f"{_span(test.shot)}s"


def sweep_of(folder: Path) -> str | None:
    """Returns the name of the sweep whose job runs in `folder`; None for a single run."""
    home = sweep_folder(folder)
    return home.name if home else None


def sweep_folder(folder: Path) -> Path | None:
    """Returns the directory of the sweep whose job runs in `folder`.

    A trial of several seeds has a folder for each, one level further down.
    """
    above = (folder.parent, folder.parent.parent)
    return next((home for home in above if (home / sweep_record.NAME).is_file()), None)


def varied(folder: Path, overrides: list[str]) -> list[str]:
    """Lists overrides that other jobs of a sweep lack and that are not in the name."""
    if (home := sweep_folder(folder)) is None:
        return []
    typed = sweep_record.read(home).command
    own = [override for override in overrides if node(override) not in IN_NAME | {"resume"}]
    return [override for override in own if not any(alike(override, word) for word in typed)]


def _span(value: int | ListConfig) -> str:
    return str(value) if isinstance(value, int) else "-".join(map(str, value))
