"""The types that everything else speaks in, and the legend of the shapes in every comment.

T  tasks in a batch            N   ways (classes of a task), or outputs of a regression
S  support rows of a task      *X  shape of one input, e.g. (1, 28, 28)
Q  query rows of a task        D   width of an embedding
B  rows of any batch           C, H, W  channels, height, width
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Predictor = Callable[[Tensor], Tensor]
"""What adapting to a support set gives: query inputs (Q, *X) -> logits or outputs (Q, N)."""

Parameters = dict[str, Tensor]
"""The weights of a module by name, as `dict(module.named_parameters())` gives them."""


class Episode(NamedTuple):
    """A batch of T few-shot tasks; one task is the same four tensors without the leading axis.

    Way and shot may vary from batch to batch, never inside one, so there are no masks. Targets are
    one-hot, so that the way is a shape and the formulas of the papers read as printed.
    """

    support_x: Tensor  # (T, S, *X)
    support_y: Tensor  # (T, S, N)
    query_x: Tensor  # (T, Q, *X)
    query_y: Tensor  # (T, Q, N)

    @property
    def num_tasks(self) -> int:
        return self.query_x.shape[0]

    def tasks(self) -> list["Episode"]:
        """The T tasks of the batch, one by one and without the leading axis."""
        return [Episode(*task) for task in zip(*self, strict=True)]


class IndexedBatch(NamedTuple):
    """Episodes of an evaluation, and which of their split they are."""

    indices: Tensor  # (T,)
    episodes: Episode


class TaskOutput(NamedTuple):
    """What an algorithm's training pays for a batch of tasks."""

    loss: Tensor  # (), its gradient is the meta-gradient
    logits: Tensor | None = None  # (T, Q, N), when the loss came with a prediction of the queries
