"""The rows of a task as a stream, for networks with a memory.

L  rows of a stream
"""

import numpy as np
import torch
from torch import Tensor

from metalearn.types import Episode


def mixed_order(batch: Episode) -> Tensor:
    """Draws a random order for the L rows of each task, support rows first: (T, L).

    In order of class, positions would give labels away. The seed is the content of the batch, so
    that training is reproducible. Labels alone would not do: few lists of labels occur in small
    tasks, and their orders can be learnt by heart.
    """
    x = torch.cat([batch.support_x, batch.query_x], dim=1)  # (T, L, *X)
    y = torch.cat([batch.support_y, batch.query_y], dim=1)  # (T, L, N)
    # Sums of whole numbers, which do not depend on the order of adding.
    sums = (255 * x.double()).round().long().flatten(2).sum(2) % 2**32  # (T, L)
    content = torch.stack([sums, y.argmax(-1)])  # (2, T, L)
    rng = np.random.default_rng(content.flatten().tolist())
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
