"""Batch normalisation for episodes; the only place that chooses the source of the moments.

The choice decides what a prediction may depend on, so it is one visible setting for every
algorithm:

    running   training: moments of each task's own rows; running averages are updated.
              evaluation: the running averages. Inductive (Ioffe and Szegedy 2015).
    support   training and evaluation: moments of the task's support rows, also for its queries.
              Inductive (called MetaBN by Bronskill et al., ICML 2020, arXiv 2003.03284).
    batch     training and evaluation: moments of all rows of a pass, including the queries.
              Transductive: a prediction depends on the other queries (Nichol et al. 2018).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.normalise import check_values, normalise

Moments = Literal["running", "support", "batch"]


class Rows(NamedTuple):
    """Rows of a batch that give the moments; each of `tasks` equal blocks is normalised alone."""

    tasks: int = 1
    support: int | None = None  # first rows of a block, which give its moments; None: all rows
    track: bool = False  # whether to update the running averages


def rows(
    mode: Moments, *, training: bool, tasks: int = 1, support: int | None = None, track: bool = True
) -> Rows | None:
    """Selects the moments of a batch: `tasks` blocks, each of `support` rows and then queries.

    None stands for the running averages, which a training updates where `track` is true. Blocks
    without support rows give their own moments.
    """
    if mode == "running":
        return Rows(tasks, track=track) if training else None
    return Rows(tasks, (support or None) if mode == "support" else None)


NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""Normalisation layers of torch."""


class BatchNorm(nn.Module):
    """Batch normalisation of (B, C) or (B, C, H, W) by the moments that `Rows` selects.

    Args:
        channels: C.
        momentum: weight of new moments in the running averages.
        eps: number added to the variance.

    Examples:
        >>> x = torch.randn(10, 3)
        >>> z = BatchNorm(3)(x, Rows(support=4))  # moments of the first four rows
        >>> z[:4].mean(0).allclose(torch.zeros(3), atol=1e-6)
        True
    """

    running_mean: Tensor
    running_var: Tensor
    fixed = False  # True in a frozen network, which always normalises by its running averages

    def __init__(self, channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        if rows is None or self.fixed:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if rows.support is not None and rows.support < x.shape[0] // rows.tasks:
            blocks = [self._by_support(block, rows.support) for block in _blocks(x, rows.tasks)]
        elif rows.track:
            blocks = self._by_block_and_track(_blocks(x, rows.tasks))
        else:
            blocks = [normalise(block, self.weight, self.bias, self.eps) for block in _blocks(x, rows.tasks)]
        return blocks[0] if rows.tasks == 1 else torch.cat(blocks)

    def _by_block_and_track(self, blocks: Sequence[Tensor]) -> list[Tensor]:
        mean = torch.zeros_like(self.running_mean).repeat(len(blocks), 1)  # (T, C)
        var = torch.zeros_like(self.running_var).repeat(len(blocks), 1)
        normalised = [
            # A momentum of 1 makes the kernel write the block's own moments into these tensors.
            F.batch_norm(*block, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
            for block in zip(blocks, mean, var, strict=True)
        ]
        # Averaging over tasks is linear, so processes that share the tasks of a step can average
        # their results.
        self.running_mean.lerp_(mean.mean(0), self.momentum)
        self.running_var.lerp_(var.mean(0), self.momentum)
        return normalised

    def _by_support(self, x: Tensor, support: int) -> Tensor:
        # Queries would be divided by the root of `eps`.
        check_values(x[:support], "give more support rows, or another batch_norm")
        pixels = [0, *range(2, x.ndim)]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # as in the kernels of the other modes
        var, mean = torch.var_mean(wide[:support], pixels, correction=0, keepdim=True)
        shape = (1, -1, *(1 for _ in range(x.ndim - 2)))
        normalised = (wide - mean) * (var + self.eps).rsqrt()
        return torch.addcmul(self.bias.view(shape), normalised, self.weight.view(shape)).to(x.dtype)


def _blocks(x: Tensor, tasks: int) -> Sequence[Tensor]:
    # The derivative of a chunk copies all of x, also where it is the only one.
    return [x] if tasks == 1 else x.chunk(tasks)


def freeze_network(network: nn.Module) -> None:
    """Freezes the weights of a network and the running averages of its normalisation."""
    network.requires_grad_(False)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.fixed = True


def weights_of_norms(network: nn.Module) -> set[str]:
    """Returns the names of the weights of normalisation layers, from this file and from torch."""
    return {
        f"{name}.{weight}"
        for name, module in network.named_modules()
        if isinstance(module, (BatchNorm, *NORMS))
        for weight, _ in module.named_parameters(recurse=False)
    }
