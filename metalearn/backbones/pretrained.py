"""Backbones with weights from elsewhere: preprocessing of images, freezing, projection.

A network of another library becomes a backbone: images of any size take the format of its training,
and its batch normalisation becomes ours, which distinguishes the support rows of each task.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from metalearn.backbones.base import AbstractBackbone, check_image
from metalearn.backbones.convolution import channels_last
from metalearn.backbones.norm import BatchNorm, Rows, freeze_network

AT_ONCE = 16
"""Images in one pass where each is embedded independently; their maps are large."""

_WITHOUT_FILES = ContextVar("without_files", default=False)


@contextmanager
def without_files() -> Iterator[None]:
    """Builds backbones without their files of weights, since a checkpoint gives all weights."""
    token = _WITHOUT_FILES.set(True)
    try:
        yield
    finally:
        _WITHOUT_FILES.reset(token)


def reads_files() -> bool:
    """Whether a backbone that is built now must read its file of weights."""
    return not _WITHOUT_FILES.get()


class Input(NamedTuple):
    """Format of the images that a network was trained on, in intensities from 0 to 1."""

    size: tuple[int, int]
    mean: Sequence[float]  # mean of each colour
    std: Sequence[float]
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"


class Preprocessing(nn.Module):
    """Converts images of any size, in 0 .. 1, to the format of a network.

    Grey or coloured images (B, C, H, W) become (B, 3, h, w). The whole image is scaled to (h, w),
    with antialiasing where it shrinks. Nothing is cropped.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, input_shape: Sequence[int], wanted: Input) -> None:
        super().__init__()
        check_image(input_shape)
        if input_shape[0] not in (1, 3):
            raise ValueError(f"a pretrained network takes 1 or 3 colours, not {input_shape[0]}: use backbone=conv4")
        self.wanted = wanted
        for name in ("mean", "std"):
            values = torch.tensor(getattr(wanted, name)).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.wanted.size:
            wide = x.to(torch.promote_types(x.dtype, torch.float32))  # a CPU has no antialiasing of 16 bits
            scaled = F.interpolate(wide, self.wanted.size, mode=self.wanted.interpolation, antialias=True)
            x = scaled.clamp(0, 1).to(x.dtype)
        return channels_last((x - self.mean) / self.std)

    def extra_repr(self) -> str:
        return str(self.wanted)


class HostedBatchNorm(BatchNorm):
    """Batch normalisation in a network that does not pass `rows` on.

    Each pass sets them here first.
    """

    def __init__(self, channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__(channels, momentum=momentum, eps=eps)
        self.rows: Rows | None = None

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return super().forward(x, self.rows)


class AbstractPretrained(AbstractBackbone):
    """Network of another library as a backbone.

    A subclass loads the network and defines its `features`.

    Args:
        network: network without its classifier.
        preprocessing: conversion of the images.
        num_features: width of its embedding.
        freeze: whether its weights are constant.
        projection: width of a linear layer after the embedding; None: no such layer.
        pretrained_on: data of its weights.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: nn.Module,
        *,
        num_features: int,
        freeze: bool,
        projection: int | None,
        pretrained_on: str,
    ) -> None:
        super().__init__()
        self.preprocessing, self.network = preprocessing, network
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
        """Embeds prepared images: (B, 3, h, w) -> (B, D)."""

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        for norm in self._norms:
            norm.rows = rows
        each_alone = rows is None and not torch.is_grad_enabled()
        z = torch.cat([self._embed(part) for part in x.split(AT_ONCE)]) if each_alone else self._embed(x)
        for norm in self._norms:
            norm.rows = None  # no setting of the network
        return z

    def _embed(self, x: Tensor) -> Tensor:
        return self.projection(self.features(self.preprocessing(x)))

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        if self.freeze:
            self.network.eval()  # without dropout
        return self


def projected(num_features: int, width: int | None) -> nn.Module:
    """Builds the layer after an embedding: linear, to `width`; the identity if that is None.

    Raises ValueError for a width below 1.
    """
    if width is None:
        return nn.Identity()
    if width < 1:
        raise ValueError(f"backbone.projection={width} must be at least 1; null is none")
    return nn.Linear(num_features, width)


def host_batch_norms(network: nn.Module) -> list[HostedBatchNorm]:
    """Replaces torch's batch normalisation by ours, with its weights and averages.

    Returns the new layers.
    """
    norms = []
    for parent in list(network.modules()):
        for name, theirs in parent.named_children():
            if isinstance(theirs, _BatchNorm):
                ours = HostedBatchNorm(theirs.num_features, momentum=theirs.momentum or 0.1, eps=theirs.eps)
                ours.load_state_dict({key: theirs.state_dict()[key] for key in ours.state_dict()})
                setattr(parent, name, ours)
                norms.append(ours)
    return norms
