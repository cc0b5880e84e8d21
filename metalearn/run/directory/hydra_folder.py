"""The run directory that Hydra chose for a command, and the config that a run leaves there."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from metalearn.run.directory.folder import RunFolder


def run_folder() -> RunFolder:
    """Returns the run directory of the command that Hydra has composed."""
    config = HydraConfig.get()
    named = any(override.startswith("hydra.run.dir=") for override in config.overrides.hydra)
    return RunFolder(Path(config.runtime.output_dir), named=named)


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
