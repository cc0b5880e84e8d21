"""What an algorithm is: how it adapts to a support set, and what its training pays."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

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

    def stages(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """The predictors that a test scores one after the other, of which the last is that of `adapt`."""
        return [self.adapt(support_x, support_y)]

    def curves(self, task: Episode) -> dict[str, dict[int, Tensor]]:
        """Further scores of a test episode: {"accuracy_by_instance": {1: (), 2: (), ...}}, say; most have none."""
        return {}

    def dependence(self) -> Dependence:
        """What a prediction depends on, by the modules that were built and not by the config.

        Raises ValueError, in one line, where a module of another's cannot keep what `batch_norm` promises.
        """
        batch_norm = batch_norm_of(self, self.batch_norm, takes_gradients=self.takes_gradients)
        return Dependence(batch_norm, transductive=self.predicts_jointly or batch_norm == "batch")
