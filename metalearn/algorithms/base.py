"""What an algorithm is: how it adapts to a support set, and what its training pays."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from metalearn.algorithms.parts.base_classes import AbstractBaseStatistics
from metalearn.backbones.base import backbone_of, is_of_backbone
from metalearn.backbones.dependence import Dependence, batch_norm_of
from metalearn.backbones.norm import Moments
from metalearn.losses import OBJECTIVES, Problem
from metalearn.types import Episode, Predictor, TaskOutput


class AbstractAlgorithm(nn.Module, ABC):
    """Adapts to support sets; subclasses are abstract or final.

    Training may differ between algorithms, evaluation may not: it is `adapt(support_x, support_y)(query_x)` for all.
    """

    takes_gradients = False  # of the network within an episode, where no scaler keeps small ones from being 0
    stage: str | None = None  # the word for what lies between two of its `stages`, such as "step"
    of_training_alone: tuple[str, ...] = ()  # weights that no prediction needs, such as a head of base classes
    predicts_jointly = False  # the queries of an episode, each with a view to the others, however they are normalised

    def __init__(
        self,
        *,
        batch_norm: Moments,
        fixed_way: int | None = None,
        num_base_classes: int | None = None,
        problem: Problem = "classification",
    ) -> None:
        super().__init__()
        self.problem: Problem = problem
        self.objective = OBJECTIVES[problem]
        self.batch_norm: Moments = batch_norm
        self.fixed_way = fixed_way  # the only way that it can predict; None: any
        # It trains on batches of images of all that many classes, each an Episode without support rows; None: episodes.
        self.num_base_classes = num_base_classes
        self.base: AbstractBaseStatistics | None = None  # what it needs to know of embedded base classes
        self.done = 0.0  # the fraction of the training that is done, for what is annealed; the module keeps it

    @abstractmethod
    def loss(self, batch: Episode) -> TaskOutput:
        """The scalar that training pays for a batch of T tasks; its gradient is the meta-gradient."""

    @abstractmethod
    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """The predictor learnt from the support set of one task, (S, *X) and (S, N); leaves the weights unchanged."""

    @property
    def embeds_each_alone(self) -> bool:
        """Whether the embedding of an image, in evaluation, depends on no other: it is then made once."""
        return False

    def own_weights(self) -> list[str]:
        """The names of the weights that a prediction needs beside those of the backbone."""
        weights = [name for name, weight in self.named_parameters() if weight.numel() and not is_of_backbone(name)]
        return [name for name in weights if name.partition(".")[0] not in self.of_training_alone]

    @property
    def pretrained_on(self) -> str | None:
        """The data that the weights of its backbone are from, before any training here; None: they are random."""
        return getattr(backbone_of(self), "pretrained_on", None)

    @property
    def backbone_is_frozen(self) -> bool:
        """Whether its backbone has weights, and none of them is trained."""
        weights = [weight for name, weight in self.named_parameters() if is_of_backbone(name)]
        return bool(weights) and not any(weight.requires_grad for weight in weights)

    def stages(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """The predictors that a test scores one after the other, of which the last is that of `adapt`."""
        return [self.adapt(support_x, support_y)]

    def candidates(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """The predictors of which a validation chooses one, such as those of several learning rates."""
        return [self.adapt(support_x, support_y)]

    def choose(self, candidate: int) -> None:
        """Adapt as this one of the `candidates` does, which is the best on meta-val; others have no choice."""

    def curves(self, task: Episode) -> dict[str, dict[int, Tensor]]:
        """Further scores of a test episode: {"accuracy_by_instance": {1: (), 2: (), ...}}, say; most have none."""
        return {}

    def dependence(self) -> Dependence:
        """What a prediction depends on, by the modules that were built and not by the config.

        Raises ValueError, in one line, where a module of another's cannot keep what `batch_norm` promises.
        """
        batch_norm = batch_norm_of(self, self.batch_norm, takes_gradients=self.takes_gradients)
        return Dependence(batch_norm, transductive=self.predicts_jointly or batch_norm == "batch")
