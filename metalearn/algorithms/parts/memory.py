"""External memory with least recently used access (LRUA). Pure functions.

Santoro et al. 2016, section 3.2.

R  reads    M  slots of the memory    E  width of a slot
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

EMPTY = 0.1
"""Length of a row below which it counts as empty, similar to no key."""


class Memory(NamedTuple):
    """Memory of T streams, and the read weights and usage that the next write needs."""

    rows: Tensor  # (T, M, E)
    read: Tensor  # (T, R, M)  w^r, the latest read weights
    usage: Tensor  # (T, M)  w^u


def empty(z: Tensor, *, reads: int, slots: int, width: int) -> Memory:
    """Returns the memory before the first row; `z` (T, D) gives T, dtype and device."""
    tasks = z.shape[0]
    return Memory(z.new_zeros(tasks, slots, width), z.new_zeros(tasks, reads, slots), z.new_zeros(tasks, slots))


def access(
    memory: Memory, contents: Tensor, keys: Tensor, *, strength: Tensor, gate: Tensor, decay: float
) -> tuple[Tensor, Memory]:
    """Writes the contents (T, R, E), then reads with the keys (T, R, E).

    Returns the readings (T, R, E) and the new memory. `strength` (R, 1) multiplies the
    similarities, `gate` () is σ(α), and `decay` is γ.
    """
    memory, written = write(memory, contents, gate)
    read = read_weights(memory.rows, keys, strength)  # (T, R, M)
    # Detached, because gradients cannot pass the choice of the least used slots.
    usage = decay * memory.usage + (read + written).sum(1).detach()  # (T, M)  eq. 5
    return read @ memory.rows, Memory(memory.rows, read, usage)  # eq. 4


def write(memory: Memory, contents: Tensor, gate: Tensor) -> tuple[Memory, Tensor]:
    """Adds the contents (T, R, E) to the memory; also returns the write weights w^w (T, R, M)."""
    least_used = least_used_weights(memory.usage, memory.read.shape[1])  # (T, M)
    weights = gate * memory.read + (1 - gate) * least_used[:, None]  # (T, R, M)  eq. 7
    kept = memory.rows * (1 - least_used)[..., None]  # (T, M, E)
    return memory._replace(rows=kept + weights.transpose(1, 2) @ contents), weights  # eq. 8


def least_used_weights(usage: Tensor, count: int) -> Tensor:
    """Computes w^lu of eq. 6: 1 for the `count` least used slots, else 0: (T, M) -> (T, M).

    Among slots of equal usage, the first ones count as least used.
    """
    slots = usage.argsort(dim=1, stable=True)[:, :count]  # (T, count)
    return torch.zeros_like(usage).scatter(1, slots, 1.0)


def read_weights(rows: Tensor, keys: Tensor, strength: Tensor) -> Tensor:
    """Computes w^r, eq. 2 and 3: a softmax over the slots of strength times cosine.

    Shapes: (T, M, E), (T, R, E), (R, 1) -> (T, R, M).
    """
    # EMPTY bounds the length from below; otherwise a slot with a trace of content would match a key
    # as well as a full one.
    directions = rows * (rows.square().sum(-1, keepdim=True) + EMPTY**2).rsqrt()  # (T, M, E)
    cosines = F.normalize(keys, dim=-1) @ directions.transpose(1, 2)  # (T, R, M)
    return (strength * cosines).softmax(-1)
