"""Distances and similarities of all pairs of embeddings."""

from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.parts.precision import at_least_float32


@at_least_float32
def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Computes the squared Euclidean distances of all pairs of rows: (A, D), (B, D) -> (A, B)."""
    # The expanded square is one matrix product. Subtracting the common part first keeps its terms
    # small, so that little cancels.
    centre = b.mean(0)  # (D,)
    a, b = a - centre, b - centre
    return (a.square().sum(1)[:, None] - 2 * a @ b.T + b.square().sum(1)).clamp_min(0)


@at_least_float32
def cosine_similarities(a: Tensor, b: Tensor) -> Tensor:
    """Computes the cosines of all pairs of rows, 0 for zero rows: (A, D), (B, D) -> (A, B)."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
