"""Default run of the command line, trained once and kept."""

from pathlib import Path

from metalearn.predict import subcommands
from metalearn.run.directory.folder import RunFolder

FOLDER = Path("outputs/demo")


def default_run(folder: Path = FOLDER) -> Path:
    """Returns the folder of the default run, after training what is left of it.

    Raises ValueError if the training fails.
    """
    run = RunFolder(folder)
    if not run.is_finished():
        subcommands.run_shown("metalearn", f"resume={folder}" if run.holds_checkpoint else f"hydra.run.dir={folder}")
    return folder
