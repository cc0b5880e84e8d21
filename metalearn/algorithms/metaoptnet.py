"""MetaOptNet.

Kwonjoon Lee, Subhransu Maji, Avinash Ravichandran, Stefano Soatto. Meta-Learning with
Differentiable Convex Optimization. CVPR 2019, arXiv 1904.03758. The head of a task is the linear
classifier that is optimal on the support set: a support vector machine or a ridge regression. The
embedding is trained through the solution of that problem. Inductive.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.checks import check_choice, check_positive
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.ridge import ridge_regression
from metalearn.algorithms.parts.svm import crammer_singer
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments

Head = Literal["svm", "ridge"]


class MetaOptNet(AbstractMetric):
    """MetaOptNet of Lee et al. 2019.

    Args:
        backbone: network that embeds images.
        head: `svm` or `ridge`.
        c: penalty C of an error of the support vector machine.
        ridge: λ of the ridge regression.
        scale: initial value of the learned factor of the logits.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = MetaOptNet(
        ...     MLP([4]), head="svm", c=0.1, ridge=50.0, scale=10.0, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        head: Head,
        c: float,
        ridge: float,
        scale: float,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        check_choice(get_args(Head), head=head)
        check_positive(c=c, ridge=ridge, scale=scale)
        self.head, self.c, self.ridge = head, c, ridge
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        if self.head == "ridge":
            w = ridge_regression(support_z, support_y, self.ridge)  # (D, N)
        else:
            # Rounding to float32 would give a kernel matrix negative eigenvalues.
            z = support_z.double()
            w = z.T @ crammer_singer(z @ z.T, support_y, self.c)  # (D, N)  eq. 8 and 9
        return self.scale * query_z @ w.to(query_z.dtype)  # (Q, N)  eq. 5
