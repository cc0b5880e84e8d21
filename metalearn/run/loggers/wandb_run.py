"""One run of Weights & Biases (W&B) for each run."""

import hashlib
import inspect
import os
import secrets
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

from metalearn.estimates import SIGNS
from metalearn.files import write_text
from metalearn.run.command.names import nearest
from metalearn.run.loggers.run_name import sweep_of

OF_THE_RUN = {"config", "dir", "id", "resume", "settings"}
"""Arguments of wandb.init that the run itself gives."""


@final
class WandbRun(WandbLogger):
    """Logs a run to W&B: online with an API key, otherwise offline into its directory.

    A resumed run has the id of the run that it continues. The step axis of all curves is the number
    of episodes, or of images of all base classes, that the training has seen.

    Args:
        folder: run directory.
        name: name that people read.
        project: project of the run.
        entity: user or team; null: that of the API key.
        group: name of a group of runs; null: the name of the sweep of a job.
        job_type: kind of run, such as train or test.
        tags: tags, to which the environment variable WANDB_TAGS adds.
        notes: remark about the run.
        offline: whether nothing is sent, also with an API key.
        log_model: whether best.ckpt becomes an artifact.
        init: further arguments of wandb.init, such as `+logger.wandb.save_code=true`.

    Examples:
        >>> logger = WandbRun(  # doctest: +SKIP
        ...     "outputs/run", "my run", "my-project", None, None, "train", [], None,
        ...     offline=True, log_model=False,
        ... )
        >>> trainer = pl.Trainer(logger=logger)  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str,
        name: str,
        project: str,
        entity: str | None,
        group: str | None,
        job_type: str,
        tags: list[str],
        notes: str | None,
        offline: bool,
        log_model: bool,
        **init: Any,
    ) -> None:
        import wandb

        _check(init, wandb.init)
        super().__init__(
            save_dir=folder,
            name=name,
            project=project,
            id=_run_id(Path(folder)),
            entity=entity,
            group=group or sweep_of(Path(folder)),
            job_type=job_type,
            tags=[*tags, *filter(None, os.environ.get("WANDB_TAGS", "").split(","))],
            notes=notes,
            resume="allow",
            settings=settings_of(offline),
            **init,
        )
        self._wandb_init.pop("anonymous", None)  # Lightning gives it always, and W&B warns of any value
        self._keeps_checkpoint = log_model
        self._axis, self._score = "episodes", "accuracy"
        self._seen: Callable[[int], int] = int

    def begin(self, facts: Mapping[str, Any], axis: str, seen: Callable[[int], int], score: str) -> None:
        """Logs the config, and defines the step axis and the summaries of the curves.

        Args:
            facts: config of the run, without secrets.
            axis: unit of the step axis, "episodes" or "images".
            seen: function from a number of steps done to their number, on all devices.
            score: "accuracy", whose summary is its maximum, or "mse", whose summary is its minimum.
        """
        self._axis, self._seen, self._score = axis, seen, score
        self.log_hyperparams(dict(facts))
        run = self.experiment
        run.define_metric(axis)
        run.define_metric("*", step_metric=axis, step_sync=True, overwrite=True)
        for split in ("train", "val", "test"):
            best = "max" if SIGNS[score] > 0 else "min"
            run.define_metric(f"{split}/{score}", step_metric=axis, summary=best)
            run.define_metric(f"{split}/loss", step_metric=axis, summary="min")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs metrics at a number of steps done, with what the training has seen by then."""
        logged = {name: value for name, value in metrics.items() if name != "epoch"}
        if step is not None:
            logged[self._axis] = self._seen(step)
        super().log_metrics(logged, step)

    def end(self, facts: Mapping[str, Any], best: Path, exit_code: int) -> str:
        """Logs the result as summary, closes the run, and returns a line that says where it is.

        Args:
            facts: fields of the result.
            best: checkpoint that `log_model` makes an artifact.
            exit_code: exit code of the run; other than 0, W&B shows the run as failed.
        """
        import wandb

        run = self.experiment
        # In the history too, because a W&B sweep reads its metric there.
        run.log({name: value for name, value in facts.items() if name == f"selected/val_{self._score}"})
        run.summary.update(dict(facts))
        if self._keeps_checkpoint and best.is_file():
            digest = hashlib.sha256(best.read_bytes()).hexdigest()
            artifact = wandb.Artifact(f"model-{run.id}", "model", metadata={**facts, "sha256": digest})
            artifact.add_file(str(best))
            run.log_artifact(artifact, aliases=["best"])
        place = place_of(run)
        wandb.finish(exit_code=exit_code)
        return place


def place_of(run: Any) -> str:
    """Says where a run is, or how to upload an offline run: all its parts, if it was resumed."""
    if not run.offline:
        return f"W&B: {run.url}"
    parts = sorted(map(str, Path(run.dir).parents[1].glob(f"offline-run-*-{run.id}")))
    return f"W&B: offline; to upload: {shlex.join(['wandb', 'sync', *parts])}"


def _check(init: Mapping[str, Any], target: Any) -> None:
    arguments = set(inspect.signature(target).parameters)
    for name in init:
        if name in OF_THE_RUN:
            raise ValueError(f"logger.wandb.{name} is given by the run itself: remove it")
        if name not in arguments:
            raise ValueError(f"logger.wandb.{name}: wandb.init has no such argument{nearest(name, arguments)}")


def _run_id(folder: Path) -> str:
    """Returns the id of a run directory, of the agent that started it where there is one."""
    id_file = folder / "wandb_id"
    if not id_file.is_file() or not id_file.read_text():
        of_agent = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        run_id = of_agent or secrets.token_hex(4)
        write_text(id_file, run_id)
    return id_file.read_text()


def settings_of(offline: bool) -> Any:
    """Returns the settings of a W&B run, which is offline where there is no API key.

    Raises ValueError where WANDB_MODE=online lacks a key.
    """
    import wandb

    settings = wandb.Settings(silent=True, console="off")
    mode = os.environ.get("WANDB_MODE")
    if offline:
        settings.mode = "offline"
    elif mode in (None, "online") and not wandb.login(prompt=False):
        if mode == "online":
            raise ValueError("WANDB_MODE=online needs an API key: set WANDB_API_KEY, or WANDB_MODE=offline")
        settings.mode = "offline"
    return settings
