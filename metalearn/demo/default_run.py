"""Default run of the command line, trained once and kept."""

from pathlib import Path

from metalearn.predict import subcommands
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.result import Outcome

FOLDER = Path("outputs/demo")


def default_run(folder: Path = FOLDER) -> Path:
    """Returns the folder of the default run, after training what is left of it.

    Raises ValueError if the training fails.
    """
    run = RunFolder(folder)
    try:
        finished = Outcome.from_json(run.result).finished
    except FileNotFoundError:
        finished = False
    if not finished:
        subcommands.run_shown("metalearn", f"resume={folder}" if run.last.exists() else f"hydra.run.dir={folder}")
    return folder
