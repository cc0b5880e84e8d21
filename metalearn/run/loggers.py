"""Loggers that need more than their class: W&B."""

import os
import secrets
from pathlib import Path

from lightning.pytorch.loggers import Logger

from metalearn.files import write_atomically


def wandb_logger(folder: str, project: str, group: str | None, job_type: str, tags: list[str]) -> Logger:
    """A W&B run of its own for this run, with the same id when the run is resumed; offline when there is no API key.

    `group` is the name of the sweep for a job of one, when nothing else is said.
    """
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    settings = wandb.Settings(silent=True, console="off")
    mode = os.environ.get("WANDB_MODE")
    if mode in (None, "online") and not wandb.login(prompt=False):
        if mode == "online":
            raise ValueError("WANDB_MODE=online needs an API key: set WANDB_API_KEY, or WANDB_MODE=offline")
        settings.mode = "offline"
    id_file = Path(folder) / "wandb_id"
    if not id_file.is_file() or not id_file.read_text():
        of_agent = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        run_id = of_agent or secrets.token_hex(4)
        write_atomically(id_file, lambda file: file.write(run_id.encode()))
    return WandbLogger(
        save_dir=folder,
        project=project,
        id=id_file.read_text(),
        name=Path(folder).name,
        group=group or sweep_of(Path(folder)),
        job_type=job_type,
        tags=tags,
        resume="allow",
        settings=settings,
    )


def sweep_of(folder: Path) -> str | None:
    """The name of the sweep that a run directory is a job of; None of a run alone."""
    above = (folder.parent, folder.parent.parent)  # a trial of several seeds has a folder for each
    return next((one.name for one in above if (one / "sweep.json").is_file()), None)


def finish(loggers: list[Logger], exit_code: int) -> None:
    """Close the W&B run with the exit code of this one, so that a failed run is not shown as finished."""
    for logger in loggers:
        if type(logger).__name__ == "WandbLogger":
            import wandb

            wandb.finish(exit_code=exit_code)
