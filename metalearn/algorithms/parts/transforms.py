"""Transformations of embeddings before they are compared, (B, D) -> (B, D)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def centred(z: Tensor, mean: Tensor) -> Tensor:
    """CL2N of Wang et al. 2019, section 3.1: without the mean of the base classes (D,), and of unit length."""
    return F.normalize(z - mean, dim=1)


def power(z: Tensor, exponent: float) -> Tensor:
    """Each number to a power, its sign kept: below 1, what is skewed to large numbers becomes more like a Gaussian."""
    return torch.sign(z) * z.abs() ** exponent
