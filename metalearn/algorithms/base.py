"""The interface of every algorithm: adapt to a support set, and return the training loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from metalearn.algorithms.parts.base_classes import AbstractBaseStatistics
from metalearn.algorithms.parts.checks import check_choice
from metalearn.backbones import norm
from metalearn.backbones.base import backbone_of, is_of_backbone
from metalearn.backbones.dependence import Dependence, batch_norm_of, keeps_averages
from metalearn.backbones.norm import Moments, Rows
from metalearn.losses import OBJECTIVES, Problem
from metalearn.types import Episode, Predictor, TaskOutput


class AbstractAlgorithm(nn.Module, ABC):
    """Adapts to support sets; every subclass is either abstract or final.

    Training may differ between algorithms. Evaluation is `adapt(support_x, support_y)(query_x)` for
    all.

    Args:
        batch_norm: moments of batch normalisation: `running`, `support` or `batch`.
        fixed_way: the only number of ways that the algorithm can predict; None: any number.
        num_base_classes: number of all base classes, for an algorithm that trains on ordinary
            batches of images. Each batch is an Episode without support rows. None: it trains on
            episodes.
        problem: classification or regression; selects the loss and the score.

    Examples:
        >>> class NearestExample(AbstractAlgorithm):
        ...     def adapt(self, support_x, support_y):
        ...         return lambda query_x: -torch.cdist(query_x, support_x) @ support_y
        ...     def loss(self, batch):
        ...         (task,) = batch.tasks()  # tasks_per_batch=1
        ...         logits = self.adapt(task.support_x, task.support_y)(task.query_x)
        ...         return TaskOutput(self.objective.loss(logits, task.query_y), logits[None])
        >>> predict = NearestExample(batch_norm="running").adapt(torch.randn(5, 4), torch.eye(5))
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    # Whether adapting differentiates the network, where no gradient scaler prevents underflow.
    takes_gradients = False
    stage: str | None = None  # name of what separates two `stages`, such as "step"
    # Weights that no prediction needs, such as a head of base classes.
    of_training_alone: tuple[str, ...] = ()
    # Beginnings of the names of weights that replace some of the backbone.
    replaces_backbone: tuple[str, ...] = ()
    # Whether all training steps of one shape launch the same kernels, so that a GPU can replay
    # them: no step waits for a value from the device, and nothing that Python holds, such as
    # `done`, changes it. Only a final class may promise it.
    replayable = False
    # Whether `loss` returns the predictions of the queries.
    answers_in_training = True
    # Number of `candidates`, from which a validation chooses.
    num_candidates = 1
    # Whether the prediction for one query depends on the other queries, whatever the normalisation.
    predicts_jointly = False
    # Whether it subtracts the mean of the queries, so that a single query has no information.
    centres_queries = False

    def __init__(
        self,
        *,
        batch_norm: Moments,
        fixed_way: int | None = None,
        num_base_classes: int | None = None,
        problem: Problem = "classification",
    ) -> None:
        super().__init__()
        check_choice(get_args(Moments), batch_norm=batch_norm)
        check_choice(OBJECTIVES, problem=problem)
        self.problem: Problem = problem
        self.objective = OBJECTIVES[problem]
        self.batch_norm: Moments = batch_norm
        self.fixed_way = fixed_way
        self.num_base_classes = num_base_classes
        self.base: AbstractBaseStatistics | None = None  # statistics of the embedded base classes
        # Fraction of the training that is done, from 0 to 1. Schedules of the algorithm read it,
        # and the LightningModule writes it.
        self.done = 0.0

    @abstractmethod
    def loss(self, batch: Episode) -> TaskOutput:
        """Returns the loss, (), of a batch of T tasks; its gradient is the meta-gradient."""

    @abstractmethod
    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Returns the predictor learnt from one support set, (S, *X) and (S, N).

        Leaves the weights unchanged.
        """

    def check_way(self, support_y: Tensor) -> None:
        """Raises ValueError if the algorithm cannot predict the ways of a task, (S, N).

        It reads values of the support set, so a training step does without it.
        """
        if support_y.ndim != 2:
            shape = tuple(support_y.shape)
            raise ValueError(f"support_y is {shape}, not (S, N): give one-hot ways, F.one_hot(labels, way).float()")
        if self.fixed_way is not None and support_y.shape[-1] != self.fixed_way:
            way, tasks = support_y.shape[-1], f"give tasks of {self.fixed_way} ways"
            raise ValueError(f"the linear head predicts {self.fixed_way} ways, the task has {way}: {tasks}")
        # A head learns that a class does not occur; the prototype of such a class would be 0 / 0.
        if self.fixed_way is None and self.problem == "classification" and not torch.compiler.is_compiling():
            occurs = support_y.any(0).tolist()  # (N,)
            if not all(occurs):
                absent = f"way {occurs.index(False)} of 0 to {len(occurs) - 1} has no support row"
                raise ValueError(f"{absent}: give at least one of each way, or number the others without it")

    def rows(self, *, tasks: int = 1, support: int | None = None, track: bool = True) -> Rows | None:
        """Selects the moments of a pass of the backbone, by `metalearn.backbones.norm.rows`."""
        return norm.rows(self.batch_norm, training=self.training, tasks=tasks, support=support, track=track)

    def own_weights(self) -> list[str]:
        """Names the weights that a prediction needs beside those of the backbone."""
        weights = [name for name, weight in self.named_parameters() if weight.numel() and not is_of_backbone(name)]
        return [name for name in weights if name.partition(".")[0] not in self.of_training_alone]

    @property
    def pretrained_on(self) -> str | None:
        """Data that the weights of the backbone come from, before any training here.

        None: the weights are random.
        """
        return getattr(backbone_of(self), "pretrained_on", None)

    @property
    def backbone_is_frozen(self) -> bool:
        """Whether the backbone has weights, and training moves neither them nor its averages."""
        weights = [weight for name, weight in self.named_parameters() if is_of_backbone(name)]
        moves = any(keeps_averages(module) for name, module in self.named_modules() if is_of_backbone(name))
        return bool(weights) and not moves and not any(weight.requires_grad for weight in weights)

    def stages(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """Returns the predictors that a test scores in turn; the last one is that of `adapt`."""
        return [self.adapt(support_x, support_y)]

    def adapts_together(self, device: torch.device, *, vectors: bool = False) -> bool:
        """Whether evaluation adapts to several tasks at once on a device, by `stages_of_all`.

        `vectors`: whether the inputs of the tasks are vectors.
        """
        return False

    def stages_of_all(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """Applies `stages` to T tasks, (T, S, *X) and (T, S, N).

        Each predictor maps (T, Q, *X) to (T, Q, N).
        """
        raise NotImplementedError(f"{type(self).__name__} adapts to one task at a time")

    def shares_tasks(self, device: torch.device) -> bool:
        """Whether `share` divides the tasks of a batch on a device."""
        return False

    def share(self, work: Callable[..., Any], tasks: Sequence[Episode], *, compiled: bool = False) -> list[Any]:
        """Applies `work` to all tasks, or to parts of them in threads; the results are in order.

        `compiled`: whether `work` calls compiled programs only.
        """
        return [work(tasks)]

    def candidates(self, support_x: Tensor, support_y: Tensor) -> list[Predictor]:
        """Returns the predictors from which a validation chooses.

        They may have several learning rates.
        """
        return [self.adapt(support_x, support_y)]

    def choose(self, candidate: int) -> None:
        """Adapts from now on as this one of the `candidates`, the best on meta-val.

        Most algorithms have no choice.
        """

    def curves(self, task: Episode) -> dict[str, dict[int, Tensor]]:
        """Returns further scores of a test episode, e.g. {"accuracy_by_instance": {1: (), 2: ()}}.

        Most algorithms have none.
        """
        return {}

    def dependence(self) -> Dependence:
        """Finds what a prediction depends on, from the modules as built and not from the config.

        Raises ValueError where a third-party module cannot keep the promise of `batch_norm`.
        """
        batch_norm = batch_norm_of(self, self.batch_norm, takes_gradients=self.takes_gradients)
        return Dependence(batch_norm, transductive=self.predicts_jointly or batch_norm == "batch")
