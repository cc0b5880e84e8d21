"""The run directory that Hydra chose for a command, and the config that a run leaves there."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from metalearn.run.directory.folder import LOG, RunFolder
from metalearn.run.directory.published import key_of


def run_folder() -> RunFolder:
    """Returns the run directory of the command that Hydra has composed."""
    config = HydraConfig.get()
    path, named = Path(config.runtime.output_dir), "hydra.run.dir" in map(key_of, config.overrides.hydra)
    fresh = path.resolve() != Path.cwd() and all(entry.name == LOG for entry in path.iterdir())
    return RunFolder(path, named=named, fresh=fresh)


def write_config(folder: RunFolder, config: DictConfig, safe: dict[str, Any]) -> None:
    """Writes the config of the run that begins, and removes the results of an earlier run.

    Args:
        folder: its directory.
        config: config as composed.
        safe: config as resolved, without secrets.
    """
    for path in (folder.result, *folder.path.glob("test_episode*")):
        path.unlink(missing_ok=True)
    hydra = HydraConfig.instance().cfg
    folder.config.parent.mkdir(exist_ok=True)
    OmegaConf.save(config, folder.config)
    OmegaConf.save(OmegaConf.masked_copy(hydra, "hydra"), folder.of_hydra)  # type: ignore[arg-type]
    OmegaConf.save(HydraConfig.get().overrides.task, folder.overrides)
    OmegaConf.save(safe, folder.hparams)
