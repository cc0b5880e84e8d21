"""The rows of a task as a stream, for networks with a memory.

L  rows of a stream
"""

import numpy as np
import torch
from torch import Tensor


def mixed_order(y: Tensor) -> Tensor:
    """Draws a random order for the rows of each stream: (T, L, N) -> (T, L).

    In order of class, positions would give labels away. The seed is the labels of the batch, whose
    queries were shuffled, so that training is reproducible.
    """
    rng = np.random.default_rng(y.argmax(-1).flatten().tolist())
    order = np.tile(np.arange(y.shape[1]), (y.shape[0], 1))
    return torch.from_numpy(rng.permuted(order, axis=1)).to(y.device)


def order_by_instance(y: Tensor) -> Tensor:
    """Orders rows by instance: one row of each class, then a second of each: (S, N) -> (S,)."""
    way = y.shape[1]
    return (instances(y) * way + y.argmax(1)).argsort(stable=True)


def instances(y: Tensor) -> Tensor:
    """Counts, for each row, the rows of its class so far, itself included: (L, N) -> (L,)."""
    return (y.cumsum(0) * y).sum(1).long()


def rearranged(rows: Tensor, order: Tensor) -> Tensor:
    """Reorders the rows of each stream by its own order: (T, L, D), (T, L) -> (T, L, D)."""
    return rows.gather(1, order[..., None].expand(-1, -1, rows.shape[2]))
