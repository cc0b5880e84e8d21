"""Prototypical Networks.

Jake Snell, Kevin Swersky, Richard Zemel. Prototypical Networks for Few-shot Learning. NeurIPS 2017, arXiv 1703.05175.
A class is the mean of its embedded support examples; a query belongs to the nearest mean. Inductive.
"""

from torch import Tensor

from metalearn.algorithms.metric import AbstractMetric


class Prototypical(AbstractMetric):
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        prototypes = support_y.T @ support_z / support_y.sum(0)[:, None]  # (N, D)  eq. 1
        return -squared_distances(query_z, prototypes)  # (Q, N)  logits of eq. 2


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances of all pairs of rows: (A, D), (B, D) -> (A, B)."""
    # The expanded square is one matrix product. Without their common part the terms are no larger than they need to be,
    # so that little cancels in low precision.
    centre = b.mean(0)  # (D,)
    a, b = a - centre, b - centre
    return (a.square().sum(1)[:, None] - 2 * a @ b.T + b.square().sum(1)).clamp_min(0)
