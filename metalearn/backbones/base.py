"""The contract of a backbone, and its check."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral

from torch import Tensor, nn

from metalearn.backbones.norm import Rows

CONTRACT = "a backbone has num_features D, map_shape (C, h, w) with C h w = D, and forward(x, rows) -> (B, D)"


class AbstractBackbone(nn.Module, ABC):
    """Network that maps inputs (B, *X) to embeddings (B, D).

    Attributes:
        num_features: D.
        map_shape: shape (C, h, w) of the feature maps before flattening; (D, 1, 1) without maps.

    Examples:
        >>> import torch
        >>> class Flat(AbstractBackbone):
        ...     num_features = 4
        ...     map_shape = (4, 1, 1)
        ...     def forward(self, x, rows=None):
        ...         return x.flatten(1)  # (B, D)
        >>> Flat()(torch.zeros(3, 1, 2, 2)).shape
        torch.Size([3, 4])
    """

    num_features: int
    map_shape: tuple[int, int, int]
    # Data that the weights come from, before any training here; None: they are random.
    pretrained_on: str | None = None
    # Beginnings of the names of the weights that are random in spite of `pretrained_on`.
    untrained: tuple[str, ...] = ("projection.",)

    @abstractmethod
    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        """Returns the embeddings; passes `rows` to each `metalearn.backbones.norm.BatchNorm`."""


def is_of_backbone(weight: str) -> bool:
    """Whether a weight of an algorithm belongs to its backbone, by its name."""
    return "backbone" in weight.split(".")


def backbone_of(algorithm: nn.Module) -> nn.Module | None:
    """Finds the backbone of an algorithm."""
    return next((part for name, part in algorithm.named_modules() if name.rpartition(".")[2] == "backbone"), None)


def random_weights(backbone: nn.Module) -> list[str]:
    """Names the weights of a new backbone that come from no training."""
    names = [name for name, _ in backbone.named_parameters()]
    if getattr(backbone, "pretrained_on", None) is None:
        return names
    return [name for name in names if name.startswith(getattr(backbone, "untrained", AbstractBackbone.untrained))]


def checked(backbone: AbstractBackbone) -> AbstractBackbone:
    """Returns the backbone, of any class. Raises ValueError if it breaks the contract."""
    features, shape = getattr(backbone, "num_features", None), getattr(backbone, "map_shape", None)
    if not isinstance(features, Integral) or features < 1:  # np.prod gives no int
        wrong = f"its num_features is {features}"
    elif not isinstance(shape, tuple | list) or len(shape) != 3 or math.prod(shape) != features:
        wrong = f"its map_shape is {shape} and its num_features {features}"
    elif not _takes_rows(backbone):
        wrong = f"its forward is forward{inspect.signature(backbone.forward)}"
    else:
        return backbone
    raise ValueError(f"{type(backbone).__name__} is not a backbone, because {wrong}: {CONTRACT} (docs/extending.md)")


def check_positive(**sizes: int | Sequence[int]) -> None:
    """Raises ValueError if a size, or one of several, is below 1."""
    for name, size in sizes.items():
        if min([size] if isinstance(size, int | Integral) else size) < 1:
            raise ValueError(f"backbone.{name}={size} must be positive")


def check_image(input_shape: Sequence[int]) -> None:
    """Raises ValueError if inputs of this shape are no images (C, H, W)."""
    if len(input_shape) != 3:
        shape = f"this backbone takes images (C, H, W), but inputs have the shape {list(input_shape)}"
        raise ValueError(f"{shape}: use backbone=mlp")


def _takes_rows(backbone: nn.Module) -> bool:
    try:
        inspect.signature(backbone.forward).bind("x", "rows")
    except TypeError:
        return False
    return True
