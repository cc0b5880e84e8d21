"""Relation Networks.

Flood Sung, Yongxin Yang, Li Zhang, Tao Xiang, Philip Torr, Timothy Hospedales. Learning to Compare:
Relation Network for Few-Shot Learning. CVPR 2018, arXiv 1711.06025. A small convolutional network
replaces the fixed distance: it learns to score how well the feature maps of a query and of a class
match. Inductive, with batch normalisation to match.
"""

import logging
import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.parts.checks import check_at_least, check_choice
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone
from metalearn.losses import cross_entropy
from metalearn.types import Episode, TaskOutput

Objective = Literal["mse", "cross_entropy"]

SMALLEST_MAP = 4
"""Smallest height and width of a map whose second block sees more than one pixel."""

log = logging.getLogger(__name__)


class Relation(AbstractEmbedding):
    """Relation Networks of Sung et al. 2018.

    Args:
        backbone: network whose features are flattened maps of `map_shape` (C, H, W).
        objective: `mse`, as in eq. 2, or `cross_entropy`.
        channels: width of the convolutions of the relation module.
        hidden: width of its fully connected layer.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = Relation(MLP([4]), channels=64, hidden=8, batch_norm="running").eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        objective: Objective = "mse",
        channels: int,
        hidden: int,
        batch_norm: norm.Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        check_choice(get_args(Objective), objective=objective)
        check_at_least(1, channels=channels, hidden=hidden)
        self.trained_for = objective
        self.map_shape = backbone.map_shape
        if min(self.map_shape[1:]) < SMALLEST_MAP:
            height, width = self.map_shape[1:]
            log.warning(
                "relation: kernels of 3x3 see mostly padding on maps of %dx%d; ask the backbone for %dx%d at least, "
                "as images have by backbone=conv4 backbone.pools=2",
                *(height, width, SMALLEST_MAP, SMALLEST_MAP),
            )
        self.relation = RelationModule(self.map_shape, channels=channels, hidden=hidden)

    def loss(self, batch: Episode) -> TaskOutput:
        support_z, query_z = self.embed(batch.support_x, batch.query_x)
        logits = self.relate(support_z, batch.support_y, query_z)  # (T, Q, N)
        if self.trained_for == "mse":
            return TaskOutput(F.mse_loss(logits.sigmoid(), batch.query_y), logits)  # eq. 2
        return TaskOutput(cross_entropy(logits, batch.query_y), logits)

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return self.relate(support_z[None], support_y[None], query_z[None])[0]

    def relate(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        """Scores pairs, before the sigmoid: (T, S, D), (T, S, N), (T, Q, D) -> (T, Q, N)."""
        tasks, support, way = support_y.shape
        # The paper sums over the shots, and so leaves the trained range when the shot changes. The
        # mean does not, and equals the sum at one shot.
        classes = support_y.mT @ support_z / support_y.sum(1)[..., None]  # (T, N, D)
        # In mode `support`, the pairs of support rows and classes come first and give the moments.
        first = support if self.batch_norm == "support" else 0
        z = torch.cat([support_z[:, :first], query_z], dim=1)  # (T, B, D)
        rows = self.rows(tasks=tasks, support=first * way)
        maps = (each.unflatten(2, self.map_shape) for each in (classes, z))  # (T, N, C, H, W), (T, B, C, H, W)
        return self.relation(*maps, rows)[:, first:]  # eq. 1


class RelationModule(nn.Module):
    """Two blocks of convolution, batch normalisation, ReLU and pooling, then two linear layers.

    The input is the maps of a class and of an image, concatenated along the channels. The first
    convolution is linear, so it runs once for each class and each image; a pair is a sum of two
    results.

    Args:
        map_shape: (C, H, W) of one map.
        channels: width C' of the convolutions.
        hidden: width of the first linear layer.
    """

    def __init__(self, map_shape: tuple[int, int, int], *, channels: int, hidden: int) -> None:
        super().__init__()
        maps, *size = map_shape
        self.first, self.second = Block(2 * maps, channels), Block(channels, channels)
        for _ in range(2):
            size = [length // 2 for length in size] if min(size) > 1 else size
        self.hidden = nn.Linear(channels * math.prod(size), hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, classes: Tensor, images: Tensor, rows: norm.Rows | None) -> Tensor:
        """Scores all pairs: (T, N, C, H, W), (T, B, C, H, W) -> (T, B, N)."""
        conv = self.first.conv
        of_class, of_image = conv.weight.chunk(2, dim=1)  # (C', C, 3, 3) each
        a = F.conv2d(classes.flatten(0, 1), of_class, conv.bias, padding=1).unflatten(0, classes.shape[:2])
        b = F.conv2d(images.flatten(0, 1), of_image, padding=1).unflatten(0, images.shape[:2])
        pairs = a[:, None] + b[:, :, None]  # (T, B, N, C', H, W)
        x = self.second(self.second.conv(self.first(pairs.flatten(0, 2), rows)), rows)
        return self.score(F.relu(self.hidden(x.flatten(1)))).view(pairs.shape[:3])


class Block(nn.Module):
    """Convolution and the layers after it; `forward` applies only the layers after it."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm = norm.BatchNorm(channels_out)

    def forward(self, x: Tensor, rows: norm.Rows | None) -> Tensor:  # (B, C', H, W) -> (B, C', H // 2, W // 2)
        x = self.norm(x, rows)
        # ReLU after the pooling gives the same result. A map of a single row or column is not
        # pooled.
        return F.relu(F.max_pool2d(x, 2) if min(x.shape[2:]) > 1 else x)
