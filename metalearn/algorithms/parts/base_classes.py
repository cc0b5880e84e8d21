"""Statistics of the embedded base classes for heads of a task; each checkpoint keeps them."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

IMAGES, FEWEST, MOST = 6400, 2, 100
"""Approximate number of images behind the statistics, and limits on those of a base class."""


class AbstractBaseStatistics(nn.Module, ABC):
    """Statistics of images of meta-train alone.

    A validation fits them at its start. So does a test that finds none, or that follows steps
    without a validation. `per_class` is the number of images of each base class, where there are as
    many.
    """

    def __init__(self, num_base_classes: int) -> None:
        super().__init__()
        self.per_class = min(max(IMAGES // max(num_base_classes, 1), FEWEST), MOST)

    @abstractmethod
    def fit(self, z: Tensor) -> None:
        """Fits the statistics to K embeddings of each of the C base classes: (C, K, D)."""

    @property
    def is_fitted(self) -> bool:
        return any(bool(buffer.any()) for buffer in self.buffers())


class BaseMean(AbstractBaseStatistics):
    """Mean of all base classes, (D,)."""

    mean: Tensor

    def __init__(self, num_base_classes: int, num_features: int) -> None:
        super().__init__(num_base_classes)
        self.register_buffer("mean", torch.zeros(num_features))

    def fit(self, z: Tensor) -> None:
        self.mean.copy_(z.to(self.mean.dtype).flatten(0, 1).mean(0))


class BaseGaussians(AbstractBaseStatistics):
    """Mean of each base class (C, D), and factors F (C, K, D) of its covariance Fᵀ F."""

    means: Tensor
    factors: Tensor

    def __init__(self, num_base_classes: int, num_features: int) -> None:
        super().__init__(num_base_classes)
        self.register_buffer("means", torch.zeros(num_base_classes, num_features))
        self.register_buffer("factors", torch.zeros(num_base_classes, self.per_class, num_features))

    def fit(self, z: Tensor) -> None:
        z = z.to(self.means.dtype)
        self.means.copy_(z.mean(1))
        # Missing images leave rows of zeros, which add nothing to the covariance.
        self.factors.zero_()[:, : z.shape[1]] = (z - z.mean(1, keepdim=True)) / max(z.shape[1] - 1, 1) ** 0.5
