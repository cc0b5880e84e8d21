"""Transductive information maximisation (TIM), with alpha-TIM as a setting.

Malik Boudiaf, Imtiaz Masud Ziko, Jérôme Rony, José Dolz, Pablo Piantanida, Ismail Ben Ayed.
Transductive Information Maximization for Few-Shot Learning. NeurIPS 2020, arXiv 2008.11297. Olivier
Veilleux, Malik Boudiaf, Pablo Piantanida, Ismail Ben Ayed. Realistic Evaluation of Transductive
Few-Shot Learning. NeurIPS 2021, arXiv 2204.11181. Move the class means so that each query surely
belongs to one class, and classes have equally many queries. Entropies of order alpha weaken the
second demand. Transductive.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.metric import AbstractClassifier
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.precision import at_least_float32
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Moments
from metalearn.losses import cross_entropy


class TIM(AbstractClassifier):
    """TIM of Boudiaf et al. 2020, which moves the class means W.

    Args:
        backbone: network that embeds images.
        sharpness: τ, the factor of squared distances.
        support_weight: λ, the weight of the cross-entropy of the support rows.
        conditional_weight: α of Boudiaf et al. 2020, the weight of the entropy of each prediction.
        alpha: order of the entropies of the queries; 1 selects Shannon's.
        lr: learning rate of Adam.
        steps: number of steps of Adam.
        num_base_classes: width of the head in training.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = TIM(
        ...     MLP([4]), sharpness=15.0, support_weight=0.1, conditional_weight=0.1, alpha=1.0,
        ...     lr=1e-3, steps=5, num_base_classes=64, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    compares_by_vmap = True

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        sharpness: float,
        support_weight: float,
        conditional_weight: float,
        alpha: float,
        lr: float,
        steps: int,
        num_base_classes: int,
        batch_norm: Moments,
    ) -> None:
        super().__init__(backbone, num_base_classes=num_base_classes, batch_norm=batch_norm)
        check_at_least(0, steps=steps, lr=lr, support_weight=support_weight, conditional_weight=conditional_weight)
        check_positive(sharpness=sharpness, alpha=alpha)
        self.sharpness, self.alpha, self.lr, self.steps = sharpness, alpha, lr, steps
        self.support_weight, self.conditional_weight = support_weight, conditional_weight
        self.predicts_jointly = steps > 0 and lr > 0

    @at_least_float32
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        support, z = len(support_z), F.normalize(torch.cat([support_z, query_z]).detach(), dim=1)  # (S + Q, D)

        def loss(means: Tensor) -> Tensor:  # eq. 3
            logits = self.logits(z, means)  # (S + Q, N)
            of_queries = logits[support:].log_softmax(1)  # (Q, N)
            marginal = entropy(of_queries.logsumexp(0) - math.log(len(of_queries)), self.alpha)
            conditional = entropy(of_queries, self.alpha).mean()
            of_support = cross_entropy(logits[:support], support_y)
            return self.support_weight * of_support - marginal + self.conditional_weight * conditional

        start = class_means(z[:support], support_y)
        means = adam(torch.func.grad(loss), start, lr=self.lr, steps=self.steps)
        return self.logits(z[support:], means)

    def logits(self, z: Tensor, means: Tensor) -> Tensor:
        """Returns -τ/2 times the squared distances, eq. 2, of rows of unit length: (B, N)."""
        products = (means @ z.T).T  # (B, N); faster than z @ means.T, whose gradient is slow
        return self.sharpness * (products - (means.square().sum(1) + 1) / 2)


def entropy(log_p: Tensor, alpha: float) -> Tensor:
    """Computes the entropies of distributions, given by their logarithms (..., N), in nats.

    They are Tsallis' of order alpha; Shannon's if alpha is 1. Logarithms have finite derivatives
    also where a probability is 0 in float32.
    """
    if alpha == 1:
        return -(log_p.exp() * log_p).sum(-1)
    return (1 - (alpha * log_p).exp().sum(-1)) / (alpha - 1)


def adam(gradient: Callable[[Tensor], Tensor], x: Tensor, *, lr: float, steps: int) -> Tensor:
    """Returns x after steps as of torch.optim.Adam, which torch.vmap does not support."""
    beta1, beta2 = 0.9, 0.999
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    for step in range(1, steps + 1):
        g = gradient(x)
        mean, square = torch.lerp(g, mean, beta1), torch.lerp(g * g, square, beta2)
        x = x - lr * mean / (1 - beta1**step) / ((square / (1 - beta2**step)).sqrt() + 1e-8)
    return x
