"""Neural processes: an encoder of the support rows, and a decoder for each query.

R  width of a representation
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.checks import check_at_least
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import DENSITY, Problem

SMALLEST_DEVIATION = 0.1
"""Smallest predicted deviation, from the code of Garnelo et al.

Smaller ones let single points dominate the training.
"""


class AbstractNeuralProcess(AbstractMetric):
    """Predicts means and deviations of a regression, or logits of a classification.

    A subclass implements `read` alone.

    Args:
        backbone: network that embeds places or images.
        way: outputs of a regression, or ways.
        width: R, and the width of the hidden layers of encoder and decoder.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.
    """

    compares_by_vmap = True

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        way: int,
        width: int,
        batch_norm: Moments,
        problem: Problem = "classification",
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm, fixed_way=way, problem=problem)
        check_at_least(1, width=width)
        features = backbone.num_features
        self.encoder = dense(features + way, width, width)
        self.decoder = dense(features + width, width, 2 * way if problem == "regression" else way)
        if problem == "regression":
            self.objective = DENSITY

    @abstractmethod
    def read(self, support_z: Tensor, representations: Tensor, query_z: Tensor) -> Tensor:
        """Summarises the support rows for each query: (S, D), (S, R), (Q, D) -> (Q, R)."""

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        representations = self.encoder(torch.cat([support_z, support_y], dim=1))  # (S, R)
        read = self.read(support_z, representations, query_z)  # (Q, R)
        outputs = self.decoder(torch.cat([query_z, read], dim=1))  # (Q, 2 N), or (Q, N)
        if self.problem == "classification":
            return outputs
        means, raw = outputs.chunk(2, dim=1)  # (Q, N) each
        deviations = SMALLEST_DEVIATION + (1 - SMALLEST_DEVIATION) * F.softplus(raw)
        return torch.cat([means, deviations.log()], dim=1)  # (Q, 2 N)


def dense(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Builds a network with two hidden layers."""
    hidden = nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(width, outputs))
