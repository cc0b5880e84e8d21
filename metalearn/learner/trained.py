"""Trained algorithm of a run, built from its checkpoint alone."""

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from torch import nn

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.pretrained import without_files
from metalearn.data.files.any_image import MODES
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.source import LARGEST_INPUT
from metalearn.data.text.preparation import TextPreparation
from metalearn.formats import one_line
from metalearn.learner.adapted import IN_TURN
from metalearn.run.command.allowed import check_targets
from metalearn.run.directory.checkpoint import fill
from metalearn.run.directory.checkpoint_file import read_checkpoint
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.origin import Origin

KEPT = ("metalearn", "state_dict", "global_step", "val", "temperature")
"""Keys of a checkpoint that a learner needs."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Trained algorithm, preparation of its inputs, and temperature of its probabilities."""

    algorithm: AbstractAlgorithm
    preparation: Preparation | TextPreparation
    temperature: float
    checkpoint: dict[str, Any]  # its source, without the state of the training

    def __deepcopy__(self, memo: dict[int, Any]) -> "Trained":
        return self  # it never changes, so copies of a learner share the weights

    def __getstate__(self) -> dict[str, Any]:
        with IN_TURN:  # a prediction of another thread exchanges the weights
            return {**vars(self), "algorithm": copy.deepcopy(self.algorithm)}

    @property
    def origin(self) -> Origin:
        return Origin.of(self.checkpoint)

    @property
    def device(self) -> torch.device:
        return next(self.algorithm.parameters(), torch.empty(0)).device  # a bag of n-grams has no weights

    @property
    def takes_texts(self) -> bool:
        return isinstance(self.preparation, TextPreparation)

    @property
    def is_transductive(self) -> bool:
        """Whether the prediction of an image depends on images predicted with it."""
        return self.algorithm.dependence().transductive


def checkpoint_of(path: Path) -> dict[str, Any]:
    """Loads the best checkpoint of a run directory, or the checkpoint at a path.

    Raises ValueError or OSError of the reading.
    """
    best = RunFolder(path).best
    if path.is_dir() and not best.is_file():
        raise FileNotFoundError(f"{path} {_why_without_weights(path)}; weights are in checkpoints/best.ckpt")
    return read_checkpoint(best if path.is_dir() else path)


def _why_without_weights(folder: Path) -> str:
    outcome = RunFolder(folder).outcome()
    if outcome is None:
        return "is not a run"
    if outcome.error:
        return f"kept no weights, since its run {outcome.status} ({outcome.error})"
    return "kept no weights: name the run that it tested"


@torch.inference_mode(False)  # weights made in inference mode could never be adapted outside it
def build(path: Path, checkpoint: dict[str, Any]) -> Trained:
    """Builds the algorithm of a checkpoint, on the GPU if there is one.

    Only classes that a run may name are built. Raises ValueError, in one line, for any other
    checkpoint.
    """
    origin, temperature = Origin.of(checkpoint), checkpoint.get("temperature")
    if origin.built.get("problem") == "regression":
        raise ValueError(f"{path} was trained on {origin.dataset}, a regression: a learner classifies images and texts")
    if origin.preparation is None:
        line = f"{path} was trained on {origin.dataset}, which does not state how new inputs are prepared"
        remedy = "a data set of yours needs a `preparation` (docs/extending.md)"
        raise ValueError(f"{line}: a learner is for images and texts; {remedy}")
    if temperature is not None and not (isinstance(temperature, float) and temperature > 0):
        raise ValueError(f"{path} is damaged: its temperature is {temperature!r:.40}")
    algorithm = _algorithm(path, origin.built)
    fill(nn.ModuleDict({"algorithm": algorithm}), checkpoint, path, origin.network)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kept = {name: checkpoint[name] for name in KEPT if name in checkpoint}
    return Trained(algorithm.to(device).eval(), _preparation(path, origin), temperature or 1.0, kept)


def _algorithm(path: Path, config: dict[str, Any]) -> AbstractAlgorithm:
    try:
        check_targets({"algorithm": config})
        with without_files():
            algorithm = instantiate(config)
    except (HydraException, ValueError, TypeError) as error:
        raise ValueError(f"{path} describes a network that cannot be built: {one_line(error)}") from error
    if not isinstance(algorithm, AbstractAlgorithm) or algorithm.objective.score_name != "accuracy":
        raise ValueError(f"{path} holds a {type(algorithm).__name__}, which does not classify")
    return algorithm


def _preparation(path: Path, origin: Origin) -> Preparation | TextPreparation:
    fields: Any = origin.preparation
    match fields:
        case {"input_shape": [int(c), int(h), int(w)] | (int(c), int(h), int(w)), "invert": bool(i), "bits": int(b)}:
            found = Preparation((c, h, w), i, b)
            if asdict(found).keys() == fields.keys() and c in MODES and min(h, w) > 0 and c * h * w <= LARGEST_INPUT:
                return found
        case {"length": int(length), "recipe": dict(recipe)} if 0 < length <= LARGEST_INPUT:
            return _text_preparation(path, TextPreparation(length, recipe), origin)
    raise ValueError(f"{path} is damaged: its preparation of inputs is {fields!r:.80}")


def _text_preparation(path: Path, found: TextPreparation, origin: Origin) -> TextPreparation:
    """Checks that tokens have the ids of the training."""
    try:
        identity = found.tokeniser.identity
    except ValueError as error:
        raise ValueError(f"{path} cannot turn texts into tokens: {error}") from error
    if identity != origin.vocabulary:
        name = found.recipe.get("name", path)
        raise ValueError(f"the tokens of {name} are not those of the training: restore them, or train again")
    return found
