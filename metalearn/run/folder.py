"""The run directory: where everything in it lies, and to whom it belongs."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from metalearn.run.claim import LOCK, lock, sign
from metalearn.run.result import Outcome


class RunFolder:
    """A run directory; `named` says whether the command named it, rather than the time of day."""

    def __init__(self, path: Path, *, named: bool = True) -> None:
        self.path, self.named = path, named

    @classmethod
    def of_hydra(cls) -> "RunFolder":
        """The run directory of the command that Hydra has composed."""
        config = HydraConfig.get()
        named = any(override.startswith("hydra.run.dir=") for override in config.overrides.hydra)
        return cls(Path(config.runtime.output_dir), named=named)

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints/best.ckpt"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints/last.ckpt"

    def episodes(self, setting: str = "") -> Path:
        """One score for each test episode, of the test itself or of another setting such as 20w1s."""
        return self.path / (f"test_episodes_{setting}.npz" if setting else "test_episodes.npz")

    @property
    def holds_run(self) -> bool:
        """Whether something was run here that another run must not overwrite: it has a checkpoint, or has finished."""
        if self.best.exists() or self.last.exists():
            return True
        try:
            return Outcome.from_json(self.result).finished
        except FileNotFoundError:
            return False
        except ValueError:
            return True  # a damaged result is still somebody's

    @contextmanager
    def claimed(self, *, resume: bool) -> Iterator[None]:
        """Hold the directory. Raises ValueError when another process does, or when its run is not to be resumed."""
        file = lock(self.path / LOCK)
        if file is None:
            raise ValueError(f"another run is at work in {self.path}")
        with file:
            sign(file)
            if not resume and self.holds_run:
                remedy = f"resume it with {quote(f'resume={self.path}')}, or name another directory"
                raise ValueError(f"{self.path} has a run already: {remedy}")
            yield

    def begin(self, config: DictConfig, safe: dict[str, Any]) -> None:
        """Record the config of the run that begins, and remove the results of the one before.

        Args:
            config: as composed.
            safe: the same resolved, without secrets.
        """
        for path in (self.result, self.path / "test_episode.png", *self.path.glob("test_episodes*.npz")):
            path.unlink(missing_ok=True)
        hydra = HydraConfig.instance().cfg
        folder = self.path / ".hydra"
        folder.mkdir(exist_ok=True)
        OmegaConf.save(config, folder / "config.yaml")
        OmegaConf.save(OmegaConf.masked_copy(hydra, "hydra"), folder / "hydra.yaml")  # type: ignore[arg-type]
        OmegaConf.save(HydraConfig.get().overrides.task, folder / "overrides.yaml")
        OmegaConf.save(safe, self.path / "hparams.yaml")

    def discard(self) -> None:
        """Remove a directory in which nothing was begun, and those above it that are empty then."""
        (self.path / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty
            self.path.rmdir()
            self.path.parent.rmdir()
