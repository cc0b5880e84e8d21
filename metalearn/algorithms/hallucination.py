"""Hallucination: a generator of support embeddings that is trained with the classifier.

Yu-Xiong Wang, Ross Girshick, Martial Hebert, Bharath Hariharan. Low-Shot Learning from Imaginary
Data. CVPR 2018, arXiv 1801.05401. A generator makes further support examples from real ones and
noise. It learns end to end to help classify the queries, whether or not the examples look real.
Inductive.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.distances import squared_distances
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import cross_entropy
from metalearn.types import Episode, TaskOutput


class Hallucination(AbstractEmbedding):
    """Prototypical network on real and generated examples, after Wang et al. 2018.

    Training draws new noise for each task. Evaluation has fixed noise, which the checkpoint keeps.

    Args:
        backbone: network that embeds images.
        num_generated: G, the number of examples generated from each real one.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = Hallucination(MLP([4]), num_generated=5, batch_norm="running").eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    noise: Tensor  # (G, D)
    compares_by_vmap = True

    def __init__(self, backbone: AbstractBackbone, *, num_generated: int, batch_norm: Moments) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        if num_generated < 1:
            raise ValueError(f"num_generated={num_generated} must be at least 1; without any, it is prototypical")
        self.generator = Generator(backbone.num_features)
        self.register_buffer("noise", torch.randn(num_generated, backbone.num_features))

    def loss(self, batch: Episode) -> TaskOutput:
        support_z, query_z = self.embed(batch.support_x, batch.query_x)  # (T, S, D), (T, Q, D)
        noise = torch.randn_like(self.noise.expand(batch.num_tasks, -1, -1))  # (T, G, D)
        parts = zip(support_z, batch.support_y, query_z, noise, strict=True)
        logits = torch.stack([self.classify(*task) for task in parts])  # (T, Q, N)
        return TaskOutput(cross_entropy(logits, batch.query_y), logits)

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return self.classify(support_z, support_y, query_z, self.noise)

    def classify(self, support_z: Tensor, support_y: Tensor, query_z: Tensor, noise: Tensor) -> Tensor:
        """Computes the query logits of one task: (S, D), (S, N), (Q, D), (G, D) -> (Q, N)."""
        generated = self.generator(support_z, noise)  # (G, S, D)
        z = torch.cat([support_z[None], generated])  # (1 + G, S, D)  the augmented training set
        y = support_y.expand(z.shape[0], *support_y.shape)  # (1 + G, S, N)
        prototypes = class_means(z.flatten(0, 1), y.flatten(0, 1))  # (N, D)
        return -squared_distances(query_z, prototypes)


class Generator(nn.Module):
    """Generator G, with three layers.

    As in the authors' code, it starts as the identity of an example that is not negative, for any
    noise.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = [nn.Linear(2 * width, width), nn.Linear(width, width), nn.Linear(width, width)]
        self.layers = nn.ModuleList(layers)
        for layer in layers:
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        """Combines each example with each noise: (S, D), (G, D) -> (G, S, D)."""
        shape = (noise.shape[0], *z.shape)
        x = torch.cat([z.expand(shape), noise[:, None].expand(shape)], dim=-1)  # (G, S, 2 D)
        first, second, last = self.layers
        return last(F.relu(second(F.relu(first(x)))))
