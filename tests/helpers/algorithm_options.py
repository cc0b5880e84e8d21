"""The algorithms of conf/algorithm, listed without building any.

Building them takes ten seconds, in each process that collects tests.
"""

from pathlib import Path

import yaml
from hydra.utils import get_class

FOLDER = Path(__file__).parents[2] / "conf/algorithm"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def class_of(name: str) -> type:
    """Returns the class of an algorithm, or of the one that it varies."""
    config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return get_class(config["_target_"]) if "_target_" in config else class_of(config["defaults"][0])


def of_class(kind: type) -> list[str]:
    return [name for name in NAMES if issubclass(class_of(name), kind)]
