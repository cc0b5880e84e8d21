"""The contract of a backbone, and its check."""

import inspect
import math
from abc import ABC, abstractmethod

from torch import Tensor, nn

from metalearn.backbones.norm import Rows

CONTRACT = "a backbone has num_features D, map_shape (C, h, w) with C h w = D, and forward(x, rows) -> (B, D)"


class AbstractBackbone(nn.Module, ABC):
    """Turns inputs (B, *X) into embeddings (B, D).

    `num_features` is D; `map_shape` the shape (C, h, w) of the feature maps that it flattens, (D, 1, 1) without maps.
    """

    num_features: int
    map_shape: tuple[int, int, int]
    pretrained_on: str | None = None  # data that its weights are from before any training here; None: they are random

    @abstractmethod
    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        """The embeddings; `rows` goes to each `metalearn.backbones.norm.BatchNorm`, and to nothing else."""


def is_of_backbone(weight: str) -> bool:
    """Whether a weight of an algorithm, by its name, is one of its backbone's."""
    return "backbone" in weight.split(".")


def backbone_of(algorithm: nn.Module) -> nn.Module | None:
    """The backbone of an algorithm, wherever it is in it."""
    return next((part for name, part in algorithm.named_modules() if name.rpartition(".")[2] == "backbone"), None)


def checked(backbone: AbstractBackbone) -> AbstractBackbone:
    """The backbone itself, of any class. Raises ValueError, in one line, where it does not keep the contract."""
    features, shape = getattr(backbone, "num_features", None), getattr(backbone, "map_shape", None)
    if not isinstance(features, int) or features < 1:
        wrong = f"its num_features is {features}"
    elif not isinstance(shape, tuple | list) or len(shape) != 3 or math.prod(shape) != features:
        wrong = f"its map_shape is {shape} and its num_features {features}"
    elif not _takes_rows(backbone):
        wrong = f"its forward is forward{inspect.signature(backbone.forward)}"
    else:
        return backbone
    raise ValueError(f"{type(backbone).__name__} is no backbone, because {wrong}: {CONTRACT} (docs/extending.md)")


def _takes_rows(backbone: nn.Module) -> bool:
    try:
        inspect.signature(backbone.forward).bind("x", "rows")
    except TypeError:
        return False
    return True
