"""The baseline: an ordinary classifier that fits a new head to each support set.

Wei-Yu Chen, Yen-Cheng Liu, Zsolt Kira, Yu-Chiang Frank Wang, Jia-Bin Huang. A Closer Look at
Few-shot Classification. ICLR 2019, arXiv 1904.04232. Train backbone and linear head on all base
classes. On a task, keep the backbone and fit a new head. Training has no episodes: every
meta-learning method should do better. Inductive.
"""

from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractClassifier
from metalearn.algorithms.parts.heads import HeadFit, basis_of
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class Baseline(AbstractClassifier):
    """Baseline of Chen et al. 2019: a linear head, fitted to frozen embeddings on each task.

    Args:
        backbone: network that embeds images.
        num_base_classes: width of the head in training.
        head_fit: optimiser of the head of a task.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> from metalearn.algorithms.parts.heads import HeadFit
        >>> fit = HeadFit(steps=5, lr=0.01, momentum=0.9, dampening=0.0, weight_decay=0.0)
        >>> algorithm = Baseline(
        ...     MLP([4]), num_base_classes=64, head_fit=fit, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True

    def __init__(
        self, backbone: AbstractBackbone, *, num_base_classes: int, head_fit: HeadFit, batch_norm: Moments
    ) -> None:
        super().__init__(backbone, num_base_classes=num_base_classes, batch_norm=batch_norm)
        self.head_fit = head_fit

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        support_z, query_z = (F.pad(z, (0, 1), value=1.0) for z in (support_z.detach(), query_z))  # for the bias
        basis = basis_of(support_z)  # (D + 1, R)
        z = support_z @ basis  # (S, R)
        # The head starts at zero and not at random, so that a prediction is a function of its task.
        # The problem is convex.
        start = z.new_zeros(support_y.shape[1], z.shape[1])
        head = self.head_fit(start, lambda head: (F.linear(z, head).softmax(1) - support_y).T @ z / len(z))  # (N, R)
        return F.linear(query_z, head @ basis.T)
