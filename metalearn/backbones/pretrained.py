"""Backbones with weights from elsewhere: how images reach them, what stays as it was, and what is put on top.

A network of another library is a backbone by this: images of any size become what it was trained on, and its batch
normalisation becomes ours, which knows the support rows of each task.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.convolution import channels_last
from metalearn.backbones.norm import BatchNorm, Rows

AT_ONCE = 16
"""Images that go through a network together where each is embedded by itself: their maps are large."""


class Input(NamedTuple):
    """The images that a network was trained on, in intensities of 0 .. 1."""

    size: tuple[int, int]
    mean: Sequence[float]  # of each colour
    std: Sequence[float]
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"


class Preparation(nn.Module):
    """Grey or coloured images of any size, in 0 .. 1, as a network wants them: (B, C, H, W) -> (B, 3, h, w).

    The whole image is scaled to (h, w), with antialiasing where it shrinks. Nothing is cut away.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, input_shape: Sequence[int], wanted: Input) -> None:
        super().__init__()
        if input_shape[0] not in (1, 3):
            raise ValueError(f"a pretrained network takes images of 1 or 3 colours, not {input_shape[0]}")
        self.wanted = wanted
        for name in ("mean", "std"):
            values = torch.tensor(getattr(wanted, name)).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.wanted.size:
            x = F.interpolate(x, self.wanted.size, mode=self.wanted.interpolation, antialias=True).clamp(0, 1)
        return channels_last((x - self.mean) / self.std)

    def extra_repr(self) -> str:
        return str(self.wanted)


class HostedBatchNorm(BatchNorm):
    """Batch normalisation in a network that passes no `rows` on: they are set here before each pass."""

    rows: Rows | None = None

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return super().forward(x, self.rows)


class AbstractPretrained(AbstractBackbone):
    """A network of another library, frozen or not, with a linear projection of its embedding or without.

    A subclass loads the network and says what its `features` are.
    """

    def __init__(
        self,
        network: nn.Module,
        preparation: Preparation,
        *,
        num_features: int,
        freeze: bool,
        projection: int | None,
        pretrained_on: str,
    ) -> None:
        super().__init__()
        self.preparation, self.network = preparation, network
        self.pretrained_on, self.freeze = pretrained_on, freeze
        self._norms = host_batch_norms(network)
        if freeze:
            freeze_network(network)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.projection = projected(num_features, projection)
        self.num_features = projection or num_features
        self.map_shape = (self.num_features, 1, 1)

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """The embeddings of prepared images: (B, 3, h, w) -> (B, D)."""

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        for norm in self._norms:
            norm.rows = rows
        each_alone = rows is None and not torch.is_grad_enabled()
        return torch.cat([self._embed(part) for part in x.split(AT_ONCE)]) if each_alone else self._embed(x)

    def _embed(self, x: Tensor) -> Tensor:
        return self.projection(self.features(self.preparation(x)))

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        if self.freeze:
            self.network.eval()  # without dropout
        return self


def projected(num_features: int, width: int | None) -> nn.Module:
    """What follows an embedding: a linear layer to `width`, or nothing. Raises ValueError for a width below 1."""
    if width is None:
        return nn.Identity()
    if width < 1:
        raise ValueError(f"backbone.projection={width} must be at least 1; null is none")
    return nn.Linear(num_features, width)


def freeze_network(network: nn.Module) -> None:
    """Keep all weights of a network as they are, and the running averages that it normalises with."""
    network.requires_grad_(False)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.fixed = True


def host_batch_norms(network: nn.Module) -> list[HostedBatchNorm]:
    """Put our batch normalisation in the place of torch's, with its weights and averages, and return all of them."""
    norms = []
    for parent in list(network.modules()):
        for name, theirs in parent.named_children():
            if isinstance(theirs, _BatchNorm):
                ours = HostedBatchNorm(theirs.num_features, momentum=theirs.momentum or 0.1, eps=theirs.eps)
                ours.load_state_dict({key: theirs.state_dict()[key] for key in ours.state_dict()})
                setattr(parent, name, ours)
                norms.append(ours)
    return norms
