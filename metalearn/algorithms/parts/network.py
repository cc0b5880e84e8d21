"""Networks of the gradient family, whose parameters are the weights θ."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from metalearn.algorithms.parts.checks import check_at_least
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone, checked


class AbstractNetwork(nn.Module, ABC):
    """Network that is called with the rows that give the moments of its normalisation."""

    way: int | None  # number of logits; None: as many as the task has ways

    @abstractmethod
    def forward(self, x: Tensor, rows: norm.Rows | None) -> Tensor:
        """Computes logits: (B, *X) -> (B, N)."""


class Classifier(AbstractNetwork):
    """Backbone with a linear head of `way` logits."""

    def __init__(self, backbone: AbstractBackbone, way: int) -> None:
        super().__init__()
        check_at_least(1, way=way)
        self.backbone, self.way = checked(backbone), way
        self.head = nn.Linear(backbone.num_features, way)

    def forward(self, x: Tensor, rows: norm.Rows | None) -> Tensor:  # (B, *X) -> (B, N)
        return self.head(self.backbone(x, rows))
