"""An earlier run whose weights a command takes, as its checkpoint and its directory describe it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn.run.command.grammar import values
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.origin import Origin


class EarlierRun:
    """An earlier run, as its checkpoint describes it, and Hydra's records beside it, if they exist.

    Args:
        folder: run directory.
        origin: facts in its checkpoint, if it has one.
    """

    def __init__(self, folder: RunFolder, origin: Origin | None = None) -> None:
        self.folder, self._origin = folder, origin
        try:
            self._config = OmegaConf.load(folder.config)
            self._hydra = OmegaConf.load(folder.of_hydra)
        except (OSError, ValueError, yaml.YAMLError):
            self._config = self._hydra = OmegaConf.create()

    @property
    def cwd(self) -> Path:
        """Working directory of its command."""
        return Path(OmegaConf.select(self._hydra, "hydra.runtime.cwd") or Path.cwd())

    @property
    def choices(self) -> Mapping[str, Any]:
        """Option of each group; of a few groups where the records are missing."""
        of_checkpoint = self._origin.choices if self._origin else {}
        return of_checkpoint | dict(OmegaConf.select(self._hydra, "hydra.runtime.choices") or {})

    def setting(self, name: str, given: Any, kept: list[str]) -> Any:
        """Returns the run's own value of a config key, from its overrides or its config.

        An unknown value is taken as given; an unknown seed is 0.
        """
        own = {**values(kept), **self.choices}
        return own[name] if name in own else self._selected(name, 0 if name == "seed" else given)

    def has_other_images_than(self, root: Any, part: str) -> bool:
        """Whether a part of its config, as recorded, names another folder of images than `root`."""
        if not isinstance(root, str) or "${" in root:
            return False
        own = self._selected(f"{part}.root", None)
        return bool(own) and (self.cwd / Path(own).expanduser()).resolve() != Path(root).resolve()

    def _selected(self, name: str, unknown: Any) -> Any:
        try:
            found = OmegaConf.select(self._config, name, default=unknown)
        except OmegaConfBaseException:
            return unknown
        return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
