"""Types that all other modules use, and the legend of the shapes in every comment.

T  tasks in a batch            N   ways (classes of a task), or outputs of a regression
S  support rows of a task      *X  shape of one input, e.g. (1, 28, 28)
Q  query rows of a task        D   width of an embedding
B  rows of any batch           C, H, W  channels, height, width
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Predictor = Callable[[Tensor], Tensor]
"""Function that predicts queries: inputs (Q, *X) -> logits or outputs (Q, N)."""

Parameters = dict[str, Tensor]
"""Weights of a module by name, as in `dict(module.named_parameters())`."""


class Augmentation(Protocol):
    """Function that augments images (B, C, H, W) in 0 .. 1 by random numbers.

    The random numbers are (B, num_random) in [0, 1). If it has an attribute `num_of_class`, the
    images of a class of an episode share the first `num_of_class` numbers.
    """

    num_random: int

    def __call__(self, images: Tensor, random: Tensor) -> Tensor: ...


class Episode(NamedTuple):
    """Batch of T few-shot tasks; one task is the same four tensors without the leading axis.

    Way and shot may vary between batches, never inside one, so there are no masks. Targets are
    one-hot, so that the way is a shape and the papers' formulas read as printed.

    Examples:
        >>> import torch
        >>> x, y = torch.zeros(8, 5, 4), torch.eye(5).expand(8, 5, 5)  # eight tasks, 5-way 1-shot
        >>> batch = Episode(support_x=x, support_y=y, query_x=x, query_y=y)
        >>> batch.num_tasks, batch.tasks()[0].support_x.shape
        (8, torch.Size([5, 4]))
    """

    support_x: Tensor  # (T, S, *X)
    support_y: Tensor  # (T, S, N)
    query_x: Tensor  # (T, Q, *X)
    query_y: Tensor  # (T, Q, N)

    @property
    def num_tasks(self) -> int:
        return self.query_x.shape[0]

    def tasks(self) -> list["Episode"]:
        """Splits the batch into its T tasks, without the leading axis."""
        return [Episode(*task) for task in zip(*self, strict=True)]


class IndexedBatch(NamedTuple):
    """Episodes of an evaluation, with their indices in the split."""

    indices: Tensor  # (T,)
    episodes: Episode


class TaskOutput(NamedTuple):
    """Training loss of a batch of tasks, and its predictions.

    Examples:
        >>> import torch
        >>> TaskOutput(torch.tensor(0.7)).logits is None  # a loss without predictions
        True
    """

    loss: Tensor  # (), its gradient is the meta-gradient
    logits: Tensor | None = None  # (T, Q, N), when the loss computed query predictions
