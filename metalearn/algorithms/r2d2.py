"""R2-D2, the ridge regression differentiable discriminator.

Luca Bertinetto, João Henriques, Philip Torr, Andrea Vedaldi. Meta-learning with differentiable
closed-form solvers. ICLR 2019, arXiv 1805.08136. The head of a task is a ridge regression from
support embeddings to labels. It is solved in closed form, and the embedding is trained through the
solution. Inductive.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.checks import check_positive
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.ridge import ridge_regression
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class R2D2(AbstractMetric):
    """R2-D2 of Bertinetto et al. 2019.

    Args:
        backbone: network that embeds images.
        scale: initial value of the learned factor α of eq. 7; the learned offset β starts at 0.
        ridge: initial value of the learned λ of eq. 4.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = R2D2(MLP([4]), scale=10.0, ridge=50.0, batch_norm="running").eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True

    def __init__(self, backbone: AbstractBackbone, *, scale: float, ridge: float, batch_norm: Moments) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        check_positive(scale=scale, ridge=ridge)
        self.log_ridge = nn.Parameter(torch.tensor(ridge).log())  # keeps λ positive
        self.alpha, self.beta = nn.Parameter(torch.tensor(float(scale))), nn.Parameter(torch.tensor(0.0))

    @at_least_float32  # half precision cannot solve the system
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        # The constant feature 1 gives the regression its bias.
        x, queries = (F.pad(z, (0, 1), value=1.0) for z in (support_z, query_z))  # (S, D + 1), (Q, D + 1)
        w = ridge_regression(x, support_y, self.log_ridge.exp())  # (D + 1, N)
        return self.alpha * queries @ w + self.beta  # (Q, N)  eq. 7
