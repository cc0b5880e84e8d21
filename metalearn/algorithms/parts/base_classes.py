"""Statistics of the embedded base classes that a head needs on a task: buffers, so that a checkpoint holds them."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class AbstractBaseStatistics(nn.Module, ABC):
    """Fitted to images of meta-train alone, at the start of each validation and of a test that finds none."""

    @abstractmethod
    def fit(self, z: Tensor) -> None:
        """Take the statistics of K embeddings of each of the C base classes: (C, K, D)."""

    @property
    def is_fitted(self) -> bool:
        return any(bool(buffer.any()) for buffer in self.buffers())


class BaseMean(AbstractBaseStatistics):
    """The mean of all base classes, (D,)."""

    mean: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))

    def fit(self, z: Tensor) -> None:
        self.mean.copy_(z.to(self.mean.dtype).flatten(0, 1).mean(0))
