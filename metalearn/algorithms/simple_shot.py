"""SimpleShot.

Yan Wang, Wei-Lun Chao, Kilian Q. Weinberger, Laurens van der Maaten. SimpleShot: Revisiting
Nearest-Neighbor Classification for Few-Shot Learning. 2019, arXiv 1911.04623. Centre the embeddings
by the mean of the base classes and scale them to unit length. A query belongs to the nearest class
mean. Inductive.
"""

from torch import Tensor

from metalearn.algorithms.metric import AbstractClassifier
from metalearn.algorithms.parts.base_classes import BaseMean
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.distances import squared_distances
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.algorithms.parts.transforms import centred
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments


class SimpleShot(AbstractClassifier):
    """SimpleShot of Wang et al. 2019.

    Args:
        backbone: network that embeds images.
        num_base_classes: width of the classifier in training, which no task uses.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = SimpleShot(MLP([4]), num_base_classes=64, batch_norm="running").eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True
    base: BaseMean

    def __init__(self, backbone: AbstractBackbone, *, num_base_classes: int, batch_norm: Moments) -> None:
        super().__init__(backbone, num_base_classes=num_base_classes, batch_norm=batch_norm)
        self.base = BaseMean(num_base_classes, backbone.num_features)

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        support_z, query_z = (centred(z, self.base.mean) for z in (support_z, query_z))
        return -squared_distances(query_z, class_means(support_z, support_y))  # (Q, N)  eq. 1
