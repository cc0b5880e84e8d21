"""The run directory that Hydra chose for a command, and the config that a run leaves there."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from metalearn.files import write_text
from metalearn.run.directory.folder import BEGAN, LOG, RunFolder
from metalearn.run.directory.keys import key

COARSE = 0.1
"""Seconds by which a file system may date a change too early."""


def run_folder() -> RunFolder:
    """Returns the run directory of the command that Hydra has composed."""
    config = HydraConfig.get()
    path, named = Path(config.runtime.output_dir), "hydra.run.dir" in map(key, config.overrides.hydra)
    return RunFolder(path, named=named, fresh=_is_fresh(path))


def _is_fresh(path: Path) -> bool:
    """Whether the command made a directory, which holds nothing but its logs so far."""
    logs = {LOG, RunFolder(path).output.name}
    try:
        is_new = path.stat().st_mtime >= BEGAN - COARSE and path.resolve() != Path.cwd()
        return is_new and all(entry.name in logs for entry in path.iterdir())
    except OSError:
        return False


def write_config(folder: RunFolder, config: DictConfig, safe: dict[str, Any]) -> None:
    """Writes the config of the run that begins, and removes the results of an earlier run.

    Args:
        folder: its directory.
        config: config as composed.
        safe: config as resolved, without secrets.
    """
    hydra = HydraConfig.instance().cfg
    folder.config.parent.mkdir(exist_ok=True)
    for path, content in (
        (folder.config, config),
        (folder.of_hydra, OmegaConf.masked_copy(hydra, "hydra")),  # type: ignore[arg-type]
        (folder.overrides, HydraConfig.get().overrides.task),
        (folder.hparams, safe),
    ):
        write_text(path, OmegaConf.to_yaml(content))
    for path in (folder.result, *folder.path.glob("test_episode*")):  # last, since a disk may be full
        path.unlink(missing_ok=True)
