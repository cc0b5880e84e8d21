"""MetaOptNet.

Kwonjoon Lee, Subhransu Maji, Avinash Ravichandran, Stefano Soatto. Meta-Learning with Differentiable Convex
Optimization. CVPR 2019, arXiv 1904.03758. The head of a task is a linear classifier that is best on the support set, a
support vector machine or a ridge regression; the embedding is trained through the solution of that problem. Inductive.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.svm import crammer_singer
from metalearn.algorithms.r2d2 import ridge_regression
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class MetaOptNet(AbstractMetric):
    """`c` is the price C of an error of the machine, `ridge` the λ of the regression.

    `scale` is where the factor of the logits starts, which is learned.
    """

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        head: Literal["svm", "ridge"],
        c: float,
        ridge: float,
        scale: float,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        if not (c > 0 and ridge > 0):
            raise ValueError(f"c={c} and ridge={ridge} must be positive")
        self.head, self.c, self.ridge = head, c, ridge
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        if self.head == "ridge":
            w = ridge_regression(support_z, support_y, self.ridge)  # (D, N)
        else:
            z = support_z.double()  # a kernel matrix rounded to less has negative eigenvalues
            w = z.T @ crammer_singer(z @ z.T, support_y, self.c)  # (D, N)  eq. 8 and 9
        return self.scale * query_z @ w.to(query_z.dtype)  # (Q, N)  eq. 5
