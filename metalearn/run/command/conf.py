"""Location of the config files."""

from pathlib import Path


def conf_dir() -> str:
    """Returns the folder conf/: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return str(folder)
    raise FileNotFoundError("the conf/ folder of metalearn is missing from this installation")
