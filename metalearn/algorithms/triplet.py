"""Triplet networks, with batch-hard or semi-hard mining.

Florian Schroff, Dmitry Kalenichenko, James Philbin. FaceNet: A Unified Embedding for Face
Recognition and Clustering. CVPR 2015, arXiv 1503.03832. Alexander Hermans, Lucas Beyer, Bastian
Leibe. In Defense of the Triplet Loss for Person Re-Identification. 2017, arXiv 1703.07737. An
example must be closer to the examples of its class than to any other example, by a margin. Only
hard triplets give a useful gradient. Inductive.
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.gradient import descend
from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.parts.backward import grad_and_value
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_at_least, check_choice, check_positive
from metalearn.algorithms.parts.distances import squared_distances
from metalearn.algorithms.parts.functional import functional_call
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone
from metalearn.types import Episode, Parameters, Predictor, TaskOutput

Mining = Literal["batch_hard", "semi_hard"]


class Triplet(AbstractEmbedding):
    """Triplet network that predicts the class with the nearest mean of support embeddings.

    Args:
        backbone: network that embeds images.
        mining: `batch_hard` (Hermans et al. 2017) uses Euclidean distances. `semi_hard` (Schroff et
            al. 2015) uses squared distances of embeddings on the unit sphere.
        margin: margin of the loss, in units of the distance.
        finetune_steps: number of gradient steps on the triplet loss of the support set, on each
            task; they move the weights that a training moves.
        finetune_lr: step size of these steps.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = Triplet(
        ...     MLP([4]), mining="semi_hard", margin=0.2, finetune_lr=0.01, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        mining: Mining,
        margin: float,
        finetune_steps: int = 0,
        finetune_lr: float,
        batch_norm: norm.Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        check_choice(get_args(Mining), mining=mining)
        check_positive(margin=margin)
        check_at_least(0, finetune_steps=finetune_steps, finetune_lr=finetune_lr)
        self.mining, self.margin = mining, margin
        self.finetune_steps, self.finetune_lr = finetune_steps, finetune_lr
        self.moved = [name for name, weight in backbone.named_parameters() if weight.requires_grad]
        if finetune_steps and not self.moved:
            raise ValueError(
                f"finetune_steps={finetune_steps} has no weights to move, since the backbone is frozen: type "
                "backbone.freeze=false, or finetune_steps=0"
            )
        self.takes_gradients = finetune_steps > 0

    def loss(self, batch: Episode) -> TaskOutput:
        support_z, query_z = self.embed(batch.support_x, batch.query_x)  # (T, S, D), (T, Q, D)
        z = torch.cat([support_z, query_z], dim=1)  # (T, S + Q, D)
        y = torch.cat([batch.support_y, batch.query_y], dim=1)  # (T, S + Q, N)
        losses = torch.stack([self.triplet_loss(*task) for task in zip(z, y, strict=True)])  # (T,)
        return TaskOutput(losses.mean(), self.compare_all(support_z, batch.support_y, query_z))

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        self.check_way(support_y)
        params = self.finetune(support_x, support_y)

        def predict(query_x: Tensor) -> Tensor:
            support = support_x.shape[0]
            rows = self.rows(support=support, track=False)
            z = self.embed_by(params, torch.cat([support_x, query_x]), rows)  # (S + Q, D)
            return self.compare(z[:support], support_y, z[support:])

        return predict

    def finetune(self, support_x: Tensor, support_y: Tensor) -> Parameters:
        """Returns the weights after `finetune_steps` steps on a support set, (S, *X) and (S, N).

        Frozen weights stay.
        """
        params: Parameters = dict(self.backbone.named_parameters())

        def support_loss(moved: Parameters) -> Tensor:
            return self.triplet_loss(self.embed_by(params | moved, support_x, self.rows(track=False)), support_y)

        moved = {name: params[name] for name in self.moved}
        for _ in range(self.finetune_steps):
            with torch.no_grad():
                grads, _ = grad_and_value(support_loss)(moved)
            moved = descend(moved, grads, self.finetune_lr)
        return params | moved

    def embed_by(self, params: Parameters, x: Tensor, rows: norm.Rows | None) -> Tensor:
        """Embeds inputs under given weights of the backbone: (B, *X) -> (B, D)."""
        return functional_call(self.backbone, params, (x, rows))

    @property
    def embeds_each_alone(self) -> bool:
        return self.takes_images_as(Triplet) and not self.finetune_steps and self.dependence().normalises_alone

    def placed(self, z: Tensor) -> Tensor:
        """Scales embeddings (B, D) to length 1 where the distances are those of a sphere."""
        return F.normalize(z, dim=1) if self.mining == "semi_hard" else z

    @at_least_float32
    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        return -(self.placed(a) - self.placed(b)).square().sum(-1)

    def distances(self, a: Tensor, b: Tensor) -> Tensor:
        """Computes the distances of all pairs of rows: (A, D), (B, D) -> (A, B)."""
        squared = squared_distances(a, b)
        # The square root has no derivative at 0.
        return squared if self.mining == "semi_hard" else squared.clamp_min(1e-12).sqrt()

    def triplet_loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Computes the loss of the mined triplets of embeddings (B, D) with classes (B, N)."""
        mine = batch_hard if self.mining == "batch_hard" else semi_hard
        z = self.placed(z)
        return mine(self.distances(z, z), y @ y.T > 0, self.margin)

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return -self.distances(self.placed(query_z), class_means(self.placed(support_z), support_y))


def batch_hard(distances: Tensor, same: Tensor, margin: float) -> Tensor:
    """Averages over anchors the loss of farthest positive and nearest negative.

    Shapes: (B, B), (B, B) -> ().
    """
    farthest = distances.masked_fill(~positives(same), 0).amax(1)  # (B,)
    nearest = distances.masked_fill(same, torch.inf).amin(1)  # (B,)
    return F.relu(margin + farthest - nearest).mean()  # Hermans et al., eq. 5


def semi_hard(distances: Tensor, same: Tensor, margin: float) -> Tensor:
    """Averages over the positive pairs the loss with a semi-hard negative: (B, B), (B, B) -> ().

    A semi-hard negative is the nearest negative that is farther away than the positive. If there is
    none, the farthest negative replaces it.
    """
    anchor, positive = positives(same).nonzero(as_tuple=True)  # (P,), (P,)
    between = distances[anchor, positive]  # (P,)
    candidates = distances[anchor]  # (P, B)
    too_near = same[anchor] | (candidates <= between[:, None])  # (P, B)
    nearest = candidates.masked_fill(too_near, torch.inf).amin(1)  # (P,)
    farthest = candidates.masked_fill(same[anchor], 0).amax(1)  # (P,)
    negative = torch.where(nearest.isinf(), farthest, nearest)  # (P,)
    return F.relu(margin + between - negative).mean()  # Schroff et al., eq. 3 and 4


def positives(same: Tensor) -> Tensor:
    """Marks the pairs of anchor and positive: (B, B) -> (B, B).

    An anchor without another example of its class is its own positive.
    """
    itself = torch.eye(len(same), dtype=torch.bool, device=same.device)
    return same & (~itself | (same.sum(1) == 1)[:, None])
