"""Transformations of embeddings before they are compared, (B, D) -> (B, D)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def centred(z: Tensor, mean: Tensor) -> Tensor:
    """Removes the mean of the base classes (D,), then scales to unit length.

    This is CL2N of Wang et al. 2019.
    """
    return F.normalize(z - mean, dim=1)


def power(z: Tensor, exponent: float) -> Tensor:
    """Raises each number to a power and keeps its sign.

    An exponent below 1 makes numbers that are skewed to large values more like a Gaussian.
    """
    return torch.sign(z) * z.abs() ** exponent
