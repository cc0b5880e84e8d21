"""Location of the config files, and files of a user that are hidden by them."""

from collections.abc import Iterable
from pathlib import Path


def conf_dir() -> str:
    """Returns the folder conf/: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return str(folder)
    raise FileNotFoundError("the conf/ folder of metalearn is missing from this installation")


def check_hidden(folders: Iterable[Path]) -> None:
    """Raises ValueError for a file that Hydra never reads, since metalearn has one of its name.

    Hydra reads the first file of a name, and its own folders come before those of the user. Equal
    files, as in a copy of conf/, hide nothing. A config.yaml beside the groups is of another tool.
    """
    own = Path(conf_dir())
    for file in sorted(own.glob("*/**/*.yaml")):
        for hidden in (folder / file.relative_to(own) for folder in folders):
            if hidden.is_file() and hidden.read_bytes() != file.read_bytes():
                raise ValueError(f"{hidden} is never read, since metalearn has a file of that name: rename it")
