"""Fine-tuning from prototypes, with or without the queries.

Shell Xu Hu, Da Li, Jan Stühmer, Minyoung Kim, Timothy Hospedales. Pushing the Limits of Simple
Pipelines for Few-Shot Learning. CVPR 2022, arXiv 2204.07305 (P>M>F). Guneet Dhillon, Pratik
Chaudhari, Avinash Ravichandran, Stefano Soatto. A Baseline for Few-Shot Image Classification. ICLR
2020, arXiv 1909.02729. Training is that of a prototypical network. On a task, some steps from there
learn the support set. Inductive; transductive where the entropy of the queries counts.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.backward import grad_and_value
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.distances import cosine_similarities
from metalearn.algorithms.parts.functional import functional_call
from metalearn.algorithms.parts.precision import widened
from metalearn.algorithms.parts.selection import selected
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone
from metalearn.losses import cross_entropy
from metalearn.types import Augmentation, Parameters, Predictor

HEAD = "head"
"""Name of the prototypes (N, D) among the weights."""


class FineTune(AbstractMetric):
    """Prototypical network with cosines, whose weights a task moves.

    If `adapt` does not name the prototypes, they follow the backbone from step to step, as in
    P>M>F. If it names them, as "head", the classifier starts from them, as in Dhillon et al.

    Args:
        backbone: network that embeds images.
        steps: number of steps of Adam, on the cross-entropy of the augmented support set.
        lr: learning rate of the steps. From several, a validation chooses the best on meta-val.
        adapt: regular expressions; the steps move the weights whose name one of them matches at its
            start, also those of a frozen backbone.
        scale: factor of the cosines.
        entropy: weight of the mean entropy of the queries in the loss of the steps.
        augmentation: augmentation of the support images, drawn anew in each step and equal in every
            task.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> from metalearn.episodes.augmentation import Unchanged
        >>> algorithm = FineTune(
        ...     MLP([4]), steps=5, lr=1e-4, adapt=["backbone"], scale=10.0,
        ...     augmentation=Unchanged(), batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True
    takes_gradients = True
    rate: Tensor  # (), the chosen one of several; NaN before the choice

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        steps: int,
        lr: float | Sequence[float],
        adapt: Sequence[str],
        scale: float,
        entropy: float = 0.0,
        augmentation: Augmentation,
        batch_norm: norm.Moments,
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        self.rates = tuple(lr) if isinstance(lr, Sequence) else (lr,)
        if not self.rates or min(self.rates) < 0:
            raise ValueError(f"lr={lr} must be one number or several, none of them negative")
        if getattr(augmentation, "num_of_class", 0):
            raise ValueError(
                f"{type(augmentation).__name__} makes other classes of the support images than of the queries: type "
                "augmentation=characters, and in a test pretrained=RUN instead of checkpoint=RUN"
            )
        check_at_least(0, steps=steps, entropy=entropy)
        check_positive(scale=scale)
        self.scale, self.entropy = scale, entropy
        self.steps, self.augmentation = steps, augmentation
        self.adapted = selected(adapt, [*self.weights(), HEAD], "algorithm.adapt")
        self.predicts_jointly = entropy > 0 and steps > 0 and max(self.rates) > 0
        self.num_candidates = len(self.rates)
        if len(self.rates) > 1:
            self.register_buffer("rate", torch.tensor(math.nan))

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return self.scale * cosine_similarities(query_z, class_means(support_z, support_y))

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        return self.predictor(support_x, support_y, self.chosen_rate())

    def candidates(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """Returns the predictors of all learning rates."""
        return [self.predictor(support_x, support_y, rate) for rate in self.rates]

    def choose(self, candidate: int) -> None:
        if len(self.rates) > 1:
            self.rate.fill_(self.rates[candidate])

    def chosen_rate(self) -> float:
        """Returns the learning rate. Raises ValueError if several have had no validation."""
        rate = self.rates[0] if len(self.rates) == 1 else self.rate.item()
        if math.isnan(rate):
            raise ValueError(f"algorithm.lr={list(self.rates)}: a training chooses one on meta-val; give one number")
        return rate

    def predictor(self, support_x: Tensor, support_y: Tensor, rate: float) -> Predictor:
        self.check_way(support_y)
        params = None if self.entropy else self.finetune(support_x, support_y, rate)

        def predict(query_x: Tensor) -> Tensor:
            phi = self.finetune(support_x, support_y, rate, query_x) if params is None else params
            return self.predict(phi, support_x, support_y, query_x)

        return predict

    def finetune(self, support_x: Tensor, support_y: Tensor, rate: float, query_x: Tensor | None = None) -> Parameters:
        """Returns the weights after the steps on one support set, (S, *X) and (S, N)."""
        params = {name: weight.detach() for name, weight in self.weights().items()}
        with torch.no_grad():
            start = params | {HEAD: class_means(self.embed_by(params, support_x, self.rows(track=False)), support_y)}
        # The steps are in float32 at least, because half precision would round small ones to 0.
        moved: Parameters = {name: nn.Parameter(widened(start[name]).clone()) for name in self.adapted}
        optimizer = torch.optim.Adam(moved.values(), rate)
        generator = torch.Generator().manual_seed(0)  # makes a prediction a function of its task

        def phi(moved: Parameters) -> Parameters:
            return params | {name: weight.to(start[name].dtype) for name, weight in moved.items()}

        def loss(x: Tensor, moved: Parameters) -> Tensor:
            value = cross_entropy(self.predict(phi(moved), support_x, support_y, x), support_y)
            if query_x is None:
                return value
            logits = self.predict(phi(moved), support_x, support_y, query_x)
            return value + self.entropy * mean_entropy(logits)  # Dhillon et al., section 3.2

        # Autocast would keep its cast of the first weights.
        with torch.no_grad(), torch.autocast(support_x.device.type, enabled=False):
            for _ in range(self.steps if rate else 0):
                random = torch.rand(len(support_x), self.augmentation.num_random, generator=generator)
                x = self.augmentation(support_x, random.to(support_x))
                grads, _ = grad_and_value(partial(loss, x))(moved)
                for name, weight in moved.items():
                    weight.grad = grads[name]
                optimizer.step()
        return phi({name: weight.detach() for name, weight in moved.items()})

    def predict(self, params: Parameters, support_x: Tensor, support_y: Tensor, x: Tensor) -> Tensor:
        """Computes the logits under given weights: (S, *X), (S, N), (B, *X) -> (B, N)."""
        support = len(support_x)
        unchanged = x is support_x  # by augmentation: one pass for both
        rows = self.rows(support=support, track=False)
        z = self.embed_by(params, x if unchanged else torch.cat([support_x, x]), rows)  # (S, D) or (S + B, D)
        support_z, z = z[:support], z if unchanged else z[support:]  # (S, D), (B, D)
        if HEAD in params:
            return self.scale * cosine_similarities(z, params[HEAD])
        return self.compare(support_z, support_y, z)

    def embed_by(self, params: Parameters, x: Tensor, rows: norm.Rows | None) -> Tensor:
        """Embeds under given weights: (B, *X) -> (B, D)."""
        weights = {name.removeprefix("backbone."): weight for name, weight in params.items() if name != HEAD}
        return functional_call(self.backbone, weights, (x, rows))

    def weights(self) -> Parameters:
        return {f"backbone.{name}": weight for name, weight in self.backbone.named_parameters()}


def mean_entropy(logits: Tensor) -> Tensor:
    """Computes the mean entropy of the rows, in nats: (B, N) -> ()."""
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
