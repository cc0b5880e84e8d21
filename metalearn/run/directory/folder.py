"""The run directory: the paths of its files, and its lock."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

import yaml

from metalearn.formats import one_line
from metalearn.run.directory.claim import LOCK, lock, sign
from metalearn.run.directory.result import Outcome

RESULT = "result.json"
LOG = "metalearn.log"

BEGAN = time.time()
"""Time of the import, before Hydra makes a directory: older ones are not the command's."""


class RunFolder:
    """A run directory. Every command reads such directories, so it does without Hydra.

    Args:
        path: its path.
        named: whether the command named it; otherwise its name is the time.
        fresh: whether the command made it.

    >>> str(RunFolder(Path("outputs/run")).best)
    'outputs/run/checkpoints/best.ckpt'
    """

    def __init__(self, path: Path, *, named: bool = True, fresh: bool = False) -> None:
        self.path, self.named, self.fresh = path, named, fresh
        self.result = path / RESULT
        self.best, self.last = path / "checkpoints/best.ckpt", path / "checkpoints/last.ckpt"
        self.metrics = path / "metrics.csv"
        self.output = path / "stdout.log"  # all that the process of a job has printed
        self.hparams = path / "hparams.yaml"  # config without interpolations and secrets, for readers of results
        self.config = path / ".hydra/config.yaml"  # composed config, with its interpolations
        self.overrides = path / ".hydra/overrides.yaml"
        self.of_hydra = path / ".hydra/hydra.yaml"  # Hydra's own part of the config

    def episodes(self, setting: str = "") -> Path:
        """Returns the path of the scores of all test episodes.

        Args:
            setting: further setting such as 20w1s; empty for the test itself.
        """
        return self.path / (f"test_episodes_{setting}.npz" if setting else "test_episodes.npz")

    def typed(self) -> list[str]:
        """Reads the overrides of its command. Raises ValueError in one line for a damaged file."""
        try:
            overrides = yaml.safe_load(self.overrides.read_text())
            if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
                raise ValueError("it is not a list of overrides")
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            remedy = "repeat the command of the run"
            raise ValueError(f"{self.overrides} is damaged ({one_line(error)}): {remedy}") from error
        return overrides

    def outcome(self) -> Outcome | None:
        """Reads the result, if there is one. Raises ValueError in one line where it is damaged."""
        try:
            return Outcome.from_json(self.result)
        except FileNotFoundError:
            return None

    def is_finished(self) -> bool:
        """Whether its run has ended well. Raises ValueError in one line for a damaged result."""
        outcome = self.outcome()
        return outcome is not None and outcome.finished

    @property
    def holds_checkpoint(self) -> bool:
        """Whether a checkpoint is here; a kill in the first validation leaves best.ckpt alone."""
        return self.best.exists() or self.last.exists()

    @property
    def holds_run(self) -> bool:
        """Whether a checkpoint or a finished result is here that another run must keep."""
        if self.holds_checkpoint:
            return True
        try:
            return self.is_finished()
        except ValueError:
            return True  # a damaged result is kept as well

    @contextmanager
    def claimed(self, *, resume: bool) -> Iterator[None]:
        """Locks the directory.

        Raises ValueError if another process has locked it, if it holds a run and `resume` is false,
        or if something else is where its checkpoints go.
        """
        file = lock(self.path / LOCK)
        if file is None:
            raise ValueError(f"another run uses {self.path}: wait for it, or name another directory")
        with file:
            sign(file)
            if not resume and self.holds_run:
                remedy = f"resume it with {quote(f'resume={self.path}')}, or name another directory"
                raise ValueError(f"{self.path} already holds a run: {remedy}")
            checkpoints = self.best.parent
            if os.path.lexists(checkpoints) and not checkpoints.is_dir():
                remedy = "remove it, or name another directory"
                raise ValueError(f"{checkpoints} is not a folder, which a run needs: {remedy}")
            yield

    def discard(self) -> None:
        """Removes a fresh directory if no run began in it.

        Its parent, if then empty, goes too where the directory has the name of a time.
        """
        (self.path / LOCK).unlink(missing_ok=True)
        if not self.fresh or self.config.exists():
            return
        for path in (self.path / LOG, *self.path.glob("*classes.csv")):  # a split that was drawn
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty
            self.path.rmdir()
            if not self.named and self.path.parent.resolve() != Path.cwd():
                self.path.parent.rmdir()
