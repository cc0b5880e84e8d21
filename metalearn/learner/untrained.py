"""The checkpoint of a pretrained backbone under a head that needs no training."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from metalearn.algorithms.parts.base_classes import BaseMean
from metalearn.backbones.base import backbone_of, random_weights
from metalearn.data.files.preparation import Preparation
from metalearn.formats import first_line
from metalearn.run.command.conf import conf_dir
from metalearn.run.directory.origin import FACTS, Origin

INPUT_SHAPE = (3, 224, 224)  # input of ImageNet networks; a backbone scales its own


def checkpoint_of_parts(backbone: str, head: str) -> dict[str, Any]:
    """Makes the checkpoint of a run of this backbone and algorithm, with their first weights.

    Raises ValueError, in one line, for unknown names, and for parts that need more than these two.
    """
    given = {
        "backbone": _part("backbone", backbone),
        "algorithm": _part("algorithm", head),
        "dataset": {"input_shape": list(INPUT_SHAPE)},
        "batch_norm": "running",
        "num_base_classes": 1,  # size of the head of a training, unused here
    }
    try:
        config: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(given), resolve=True)  # type: ignore[assignment]
        if "_target_" not in config["algorithm"]:
            raise ValueError("its config extends that of another algorithm")
        algorithm = instantiate(config["algorithm"])
    except InterpolationKeyError as error:
        (missing,) = re.findall(r"Interpolation key '(.+)' not found", str(error))
        raise ValueError(f"{head} needs {missing}, which only a run has: train it, or choose another") from error
    except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
        cause = error.__cause__ if isinstance(error, HydraException) and error.__cause__ else error
        raise ValueError(f"{head} on {backbone} cannot be built without a run: {first_line(cause)}") from error
    network = backbone_of(algorithm)
    if network is None or random_weights(network):
        raise ValueError(
            f"the weights of {backbone} are random before training: train it, or choose a pretrained backbone"
        )
    if own := algorithm.own_weights():
        raise ValueError(f"{head} has weights that a training must find, such as {own[0]}: train it, or choose another")
    if not isinstance(algorithm.base, BaseMean | None):
        raise ValueError(f"{head} needs to know base classes, which only a run has: train it, or choose another")
    origin = Origin.untrained(
        dataset="no data of yours",
        algorithm=head,
        backbone=backbone,
        built=config["algorithm"],
        preparation=asdict(Preparation(INPUT_SHAPE)),
    )
    state = {f"algorithm.{name}": weight for name, weight in algorithm.state_dict().items()}
    return {FACTS: origin.facts(), "state_dict": state, "global_step": 0, "val": None, "temperature": None}


def _part(group: str, name: str) -> Any:
    """Reads a config of the package, without the recipe of its training.

    Raises ValueError, with all names, for an unknown one.
    """
    files = {path.stem: path for path in Path(conf_dir(), group).glob("*.yaml")}
    if name not in files:
        raise ValueError(f"there is no {group} {name!r}; choose from {', '.join(sorted(files))}")
    config: Any = OmegaConf.load(files[name])
    config.pop("defaults", None)
    return config
