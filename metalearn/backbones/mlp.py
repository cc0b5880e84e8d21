"""Fully connected network, as in MAML for regression and for Omniglot without convolutions.

Chelsea Finn, Pieter Abbeel, Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep
Networks. ICML 2017, arXiv 1703.03400, section 5.2: hidden layers of 256, 128, 64, 64 units, each
with batch normalisation and ReLU.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.base import AbstractBackbone, check_positive
from metalearn.backbones.norm import BatchNorm, Rows


class MLP(AbstractBackbone):
    """Fully connected network: inputs (B, *X) -> last hidden layer (B, D), D = hidden[-1].

    Args:
        input_shape: shape X of one input.
        hidden: widths of the hidden layers.
        norm: whether batch normalisation follows each layer.

    Examples:
        >>> import torch
        >>> MLP([1, 28, 28])(torch.zeros(2, 1, 28, 28)).shape  # (B, D)
        torch.Size([2, 64])
    """

    def __init__(
        self, input_shape: Sequence[int], *, hidden: Sequence[int] = (256, 128, 64, 64), norm: bool = True
    ) -> None:
        super().__init__()
        if not hidden:
            raise ValueError("mlp needs at least one hidden layer")
        check_positive(hidden=hidden)
        widths = [math.prod(input_shape), *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, hidden, strict=False))
        self.norms = nn.ModuleList(BatchNorm(width) for width in hidden) if norm else None
        self.num_features = hidden[-1]
        self.map_shape = (hidden[-1], 1, 1)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = x.flatten(1)
        for depth, layer in enumerate(self.layers):
            x = layer(x)  # (B, hidden[depth])
            if self.norms is not None:
                x = self.norms[depth](x, rows)
            x = F.relu(x)
        return x
