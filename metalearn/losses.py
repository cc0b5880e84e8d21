"""Losses and scores of predictions against one-hot targets. Pure functions."""

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats over all leading axes; logits and one-hot targets are (..., N)."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(0, -2))


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Fraction of the rows whose largest logit is the target's: (..., B, N), (..., B, N) -> (...)."""
    return (logits.argmax(-1) == targets.argmax(-1)).float().mean(-1)
