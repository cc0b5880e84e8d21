"""Memory of Kaiser et al. 2017, arXiv 1703.03129, section 3, for T streams. Pure functions.

M  slots of the memory    D  width of a key    N  ways, one-hot values
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.parts.precision import at_least_float32

ABSENT = -2.0
"""Similarity to an absent key, below all cosines."""


class Memory(NamedTuple):
    keys: Tensor  # (T, M, D), of length 1
    values: Tensor  # (T, M, N), one-hot; zeros in an empty slot
    ages: Tensor  # (T, M); infinite in an empty slot, so that it is the oldest


def empty(z: Tensor, y: Tensor, *, slots: int) -> Memory:
    """Returns the memory before the first of L rows.

    Embeddings (T, L, D) and labels (T, L, N) give the shapes. Each row fills at most one slot, so
    there are never more slots than rows.
    """
    tasks, slots = len(z), min(slots, z.shape[1])
    ages = torch.full((tasks, slots), torch.inf, dtype=torch.float32, device=z.device)  # bf16 ends at 256
    return Memory(z.new_zeros(tasks, slots, z.shape[2]), y.new_zeros(tasks, slots, y.shape[2]), ages)


@at_least_float32
def scores(memory: Memory, query: Tensor) -> Tensor:
    """Finds the largest cosine of a query and the keys of each class: (T, Q, D) -> (T, Q, N).

    A class without keys has `ABSENT`.
    """
    cosines = query @ memory.keys.transpose(1, 2)  # (T, Q, M)
    of_class = memory.values.bool()[:, None]  # (T, 1, M, N)
    return torch.where(of_class, cosines[..., None], ABSENT).amax(2)


@at_least_float32
def update(memory: Memory, query: Tensor, y: Tensor) -> Memory:
    """Returns the memory after a row of each stream, (T, D) of length 1, and its label, (T, N)."""
    keys, values, ages = memory
    stream = torch.arange(len(query), device=query.device)
    cosines = (keys @ query[..., None])[..., 0].masked_fill(ages.isinf(), ABSENT)  # (T, M)
    nearest = cosines.argmax(1)  # (T,)  n_1
    is_right = (values[stream, nearest] * y).sum(-1).bool()  # (T,)  V[n_1] = v
    slot = torch.where(is_right, nearest, ages.argmax(1))  # (T,)  else the oldest, of equally old ones the first
    written = query + keys[stream, slot] * is_right[:, None]  # (T, D)  case 1: q + K[n_1]; case 2: q
    here = F.one_hot(slot, keys.shape[1]).bool()  # (T, M)
    return Memory(
        torch.where(here[..., None], F.normalize(written, dim=-1)[:, None], keys),
        torch.where(here[..., None], y[:, None], values),
        torch.where(here, 0.0, ages + 1),
    )
