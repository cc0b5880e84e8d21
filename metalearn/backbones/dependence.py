"""What a prediction depends on, as the modules of a network say it, whatever a config says."""

from typing import Literal, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from metalearn.backbones.norm import BatchNorm, Moments

OURS = f"{BatchNorm.__module__}.{BatchNorm.__qualname__}"


class Dependence(NamedTuple):
    batch_norm: Moments | Literal["none"]  # none: there is no batch normalisation
    transductive: bool  # whether the prediction of a query depends on the other queries


def batch_norm_of(network: nn.Module, mode: Moments, *, takes_gradients: bool) -> Moments | Literal["none"]:
    """The mode in which a network normalises when it is asked for `mode`.

    torch's own batch normalisation is not told which rows are support rows, nor whose they are: in evaluation it knows
    its running averages alone, and in training it moves them at each pass, those of an inner loop among them.

    Raises ValueError, in one line, where it could not keep what the mode promises.
    """
    ours = [module for module in network.modules() if isinstance(module, BatchNorm)]
    theirs = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    for name, module in theirs.items():
        kind = f"{type(module).__name__} at {name}"
        if not module.track_running_stats:
            raise ValueError(f"{kind} keeps no running averages, so a prediction depends on other rows: use {OURS}")
        if mode != "running":
            also = "" if takes_gradients else ", or batch_norm=running"
            raise ValueError(f"batch_norm={mode} does not reach {kind}: use {OURS} in its place{also}")
        if takes_gradients:
            raise ValueError(f"each inner step would move the running averages of {kind}: use {OURS} in its place")
    if theirs or not all(norm.fixed for norm in ours):
        return mode
    return "running" if ours else "none"
