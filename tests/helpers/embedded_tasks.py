"""Small tasks of embeddings, for tests of comparisons."""

import math
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.base import AbstractBackbone
from metalearn.types import Episode

WAYS = [0, 2, 1, 2, 0, 2, 1]  # unequal shots


class Flat(AbstractBackbone):
    """Backbone that returns its inputs."""

    def __init__(self, channels: int, height: int = 1, width: int = 1) -> None:
        super().__init__()
        self.map_shape = (channels, height, width)
        self.num_features = math.prod(self.map_shape)

    def forward(self, x: Tensor, rows: object = None) -> Tensor:
        return x


def random_task() -> SimpleNamespace:
    """Draws embeddings of a task of 3 ways with 5 features: 7 support rows, 4 queries."""
    generator = torch.Generator().manual_seed(0)
    support_z, query_z = (torch.randn(rows, 5, dtype=torch.float64, generator=generator) for rows in (7, 4))
    return SimpleNamespace(
        support_z=support_z,
        support_y=F.one_hot(torch.tensor(WAYS), 3).double(),
        query_z=query_z,
        query_y=F.one_hot(torch.tensor([1, 0, 2, 2]), 3).double(),
    )


def compare(algorithm: AbstractAlgorithm, task: SimpleNamespace) -> Tensor:
    return algorithm.double().compare(task.support_z, task.support_y, task.query_z)


def batch_of(task: SimpleNamespace) -> Episode:
    """Returns a batch of that task and of another one, for the backbone `Flat`."""
    parts = Episode(task.support_z, task.support_y, task.query_z, task.query_y)
    return Episode(*(torch.stack([part, part.roll(1, -1)]) for part in parts))


def mean_of_class(z: Tensor, way: int) -> Tensor:
    return torch.stack([z[i] for i in range(7) if WAYS[i] == way]).mean(0)
