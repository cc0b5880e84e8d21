"""Dependence of a prediction on other rows, derived from the modules and not from the config."""

from typing import Literal, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from metalearn.backbones.norm import BatchNorm, Moments

OUR_NORM = f"{BatchNorm.__module__}.{BatchNorm.__qualname__}"


def keeps_averages(module: nn.Module) -> bool:
    """Whether a layer has running averages that a pass in training moves."""
    return isinstance(module, _BatchNorm) or (isinstance(module, BatchNorm) and not module.fixed)


class Dependence(NamedTuple):
    batch_norm: Moments | Literal["none"]  # none: no batch normalisation
    transductive: bool  # whether a prediction depends on the other queries

    @property
    def normalises_alone(self) -> bool:
        """Whether the network normalises each row independently of the others."""
        return self.batch_norm in ("running", "none")


def batch_norm_of(network: nn.Module, mode: Moments, *, takes_gradients: bool) -> Moments | Literal["none"]:
    """Returns the mode in which a network normalises when asked for `mode`.

    The batch normalisation of torch distinguishes neither support rows from queries nor tasks. In
    evaluation it uses its running averages only. In training it updates them at each pass, also
    those of an inner loop.

    Raises ValueError where torch's modules cannot keep the promise of the mode.
    """
    ours = [module for module in network.modules() if isinstance(module, BatchNorm)]
    theirs = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    for name, module in theirs.items():
        kind = f"{type(module).__name__} at {name}"
        if not module.track_running_stats:
            raise ValueError(f"{kind} keeps no running averages, so a prediction depends on other rows: use {OUR_NORM}")
        if mode != "running":
            also = "" if takes_gradients else ", or batch_norm=running"
            raise ValueError(f"batch_norm={mode} does not reach {kind}: use {OUR_NORM} instead{also}")
        if takes_gradients:
            raise ValueError(f"each inner step would move the running averages of {kind}: use {OUR_NORM} instead")
    if theirs or not all(norm.fixed for norm in ours):
        return mode
    return "running" if ours else "none"
