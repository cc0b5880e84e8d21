"""MANN, the memory-augmented neural network.

Adam Santoro, Sergey Bartunov, Matthew Botvinick, Daan Wierstra, Timothy Lillicrap. Meta-Learning
with Memory-Augmented Neural Networks. ICML 2016, arXiv 1605.06065 (One-shot Learning with
Memory-Augmented Neural Networks). The rows of a task form a stream, each with the label of the
previous row, and a recurrent network learns to predict their labels. It binds images and labels in
an external memory, and retrieves them by content. Inductive.

L  rows of a stream    U  hidden units    R  reads    M  slots of the memory    E  width of a slot
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.parts import memory
from metalearn.algorithms.parts.checks import check_at_least, check_positive
from metalearn.algorithms.parts.memory import Memory
from metalearn.algorithms.parts.streams import instances, mixed_order, order_by_instance, rearranged
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone, checked
from metalearn.losses import cross_entropy
from metalearn.types import Episode, Predictor, TaskOutput

INSTANCES = (1, 2, 5, 10)
"""Instances of a class at which a test scores; Santoro et al. 2016, table 1."""


class State(NamedTuple):
    """State that the network carries from row to row, for T streams."""

    hidden: Tensor  # (T, U)
    cell: Tensor  # (T, U)
    keys: Tensor  # (T, R, E), of the latest row
    memory: Memory


class MANN(AbstractAlgorithm):
    """MANN of Santoro et al. 2016: an LSTM with an external memory.

    Args:
        backbone: network that embeds images.
        way: number of logits.
        hidden: number of units U of the LSTM.
        slots: number of slots M of the memory.
        width: numbers E in a slot.
        reads: number of keys R, each with its reading.
        usage_decay: γ of eq. 5.
        key_strength: initial value of the learned strength of the keys.
        batch_norm: moments of batch normalisation.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = MANN(
        ...     MLP([4]), way=5, hidden=200, slots=128, width=40, reads=4, usage_decay=0.99,
        ...     key_strength=10.0, batch_norm="running"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        way: int,
        hidden: int,
        slots: int,
        width: int,
        reads: int,
        usage_decay: float,
        key_strength: float,
        batch_norm: norm.Moments,
    ) -> None:
        super().__init__(batch_norm=batch_norm, fixed_way=way)
        check_at_least(2, hidden=hidden)
        check_at_least(1, width=width)
        if not 1 <= reads <= slots:
            raise ValueError(f"reads={reads} must be 1 to {slots}, the number of slots")
        if not 0 <= usage_decay <= 1:
            raise ValueError(f"usage_decay={usage_decay} must be in 0..1")
        check_positive(key_strength=key_strength)
        self.backbone = checked(backbone)
        self.slots, self.width, self.reads, self.usage_decay = slots, width, reads, usage_decay
        features = backbone.num_features
        # Removes what all rows share, so that their directions differ more.
        self.norm = norm.BatchNorm(features)
        self.gates = nn.Linear(features + way + hidden, 4 * hidden)
        self.key = nn.Linear(hidden, reads * width)
        self.content = nn.Linear(hidden, reads * width)
        self.output = nn.Linear(hidden + reads * width, way)
        # Most of each write goes to the least used slots.
        self.alpha = nn.Parameter(torch.tensor(-2.0))
        # Inverse softplus of the strength.
        self.strength = nn.Parameter(torch.full((reads, 1), key_strength + math.log(-math.expm1(-key_strength))))
        start_with_recall(self.gates, self.key, self.content, features=features, way=way)

    def loss(self, batch: Episode) -> TaskOutput:
        support = batch.support_y.shape[1]
        z, y = self.embed(batch)
        order = mixed_order(batch)  # (T, L)
        logits, _ = self.follow(rearranged(z, order), rearranged(y, order))  # (T, L, N)
        logits = rearranged(logits, order.argsort(1))  # back to the order of the batch
        return TaskOutput(cross_entropy(logits, y), logits[:, support:])

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        self.check_way(support_y)
        order = order_by_instance(support_y)  # (S,)
        stream_y = support_y[order]

        def predict(query_x: Tensor) -> Tensor:
            support, queries = support_x.shape[0], query_x.shape[0]
            z = self.embed_rows(torch.cat([support_x, query_x])[None], support)[0]  # (S + Q, D)
            _, state = self.follow(z[:support][order][None], stream_y[None])
            # Each query is the next row after the support rows, in its own copy of the stream.
            logits, _ = self.step(z[support:], stream_y[-1].expand(queries, -1), copies(state, queries))
            return logits

        return predict

    def curves(self, task: Episode) -> dict[str, dict[int, Tensor]]:
        """Computes the accuracy at the first, second, ... (`INSTANCES`) row of each class.

        All rows of the task form one stream. An accuracy is NaN where it has fewer rows.
        """
        stream = Episode(*(part[None] for part in task))
        z, y = self.embed(stream)
        order = mixed_order(stream)
        y = rearranged(y, order)
        logits, _ = self.follow(rearranged(z, order), y)
        accuracies = accuracy_by_instance(logits[0], y[0])  # (4,)
        return {"accuracy_by_instance": dict(zip(INSTANCES, accuracies, strict=True))}

    def embed(self, batch: Episode) -> tuple[Tensor, Tensor]:
        """Returns embeddings (T, S + Q, D) and labels (T, S + Q, N), support rows first."""
        x = torch.cat([batch.support_x, batch.query_x], dim=1)  # (T, S + Q, *X)
        y = torch.cat([batch.support_y, batch.query_y], dim=1)  # (T, S + Q, N)
        return self.embed_rows(x, batch.support_x.shape[1]), y

    def embed_rows(self, x: Tensor, support: int) -> Tensor:
        """Embeds B rows of each task, the first `support` its support: (T, B, *X) -> (T, B, D)."""
        rows = self.rows(tasks=x.shape[0], support=support)
        return self.norm(self.backbone(x.flatten(0, 1), rows), rows).unflatten(0, x.shape[:2])

    def follow(self, z: Tensor, y: Tensor) -> tuple[Tensor, State]:
        """Predicts along T streams: (T, L, D), (T, L, N) -> (T, L, N), and their final state."""
        state = self.start(z[:, 0])
        previous_y = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], dim=1)  # (T, L, N)
        predictions = []
        for row in range(z.shape[1]):
            logits, state = self.step(z[:, row], previous_y[:, row], state)
            predictions.append(logits)
        return torch.stack(predictions, dim=1), state

    def start(self, z: Tensor) -> State:
        """Returns the state before the first row of T streams; `z` is (T, D)."""
        hidden = z.new_zeros(z.shape[0], self.key.in_features)
        keys = z.new_zeros(z.shape[0], self.reads, self.width)
        return State(hidden, hidden, keys, memory.empty(z, reads=self.reads, slots=self.slots, width=self.width))

    def step(self, z: Tensor, previous_y: Tensor, state: State) -> tuple[Tensor, State]:
        """Predicts the next row of T streams: (T, D), (T, N) -> (T, N)."""
        gates = self.gates(torch.cat([z, previous_y, state.hidden], dim=1))  # (T, 4 U)
        write, forget, read, new = gates.chunk(4, dim=1)  # (T, U) each
        cell = forget.sigmoid() * state.cell + write.sigmoid() * new.tanh()
        hidden = read.sigmoid() * cell.tanh()
        keys = self.key(hidden).unflatten(1, (self.reads, self.width))  # (T, R, E)
        # The label is that of the previous row, so it is stored with the key of that row.
        contents = state.keys + self.content(hidden).unflatten(1, (self.reads, self.width))  # (T, R, E)
        readings, accessed = memory.access(
            state.memory,
            contents,
            keys,
            strength=F.softplus(self.strength),
            gate=self.alpha.sigmoid(),
            decay=self.usage_decay,
        )
        logits = self.output(torch.cat([hidden, readings.flatten(1)], dim=1))  # (T, N)  of [h_t, r_t]
        return logits, State(hidden, cell, keys, accessed)


@torch.no_grad()
def start_with_recall(gates: nn.Linear, key: nn.Linear, content: nn.Linear, *, features: int, way: int) -> None:
    """Initialises the weights so that keys identify images and contents identify labels.

    From the usual random weights, the network counts labels, and uses its memory much later.
    """
    units = key.in_features
    half = units // 2
    write, forget, read, new = gates.bias.chunk(4)
    for bias, value in ((write, 2.0), (forget, -2.0), (read, 2.0), (new, 0.0)):
        bias.fill_(value)
    # (U, D + N + U), input weights of the new cell values
    weight = gates.weight[3 * units :].zero_()
    nn.init.normal_(weight[:half, :features], std=features**-0.5)
    nn.init.normal_(weight[half:, features : features + way])
    key.weight[:, half:] = 0
    content.weight[:, :half] = 0


def accuracy_by_instance(logits: Tensor, y: Tensor) -> Tensor:
    """Computes the accuracy at each of `INSTANCES`; NaN where no row is: (L, N), (L, N) -> (4,)."""
    correct = (logits.argmax(1) == y.argmax(1)).double()  # (L,)
    return torch.stack([correct[instances(y) == instance].mean() for instance in INSTANCES])


def copies(state: State, count: int) -> State:
    """Repeats the state of one stream `count` times."""

    def repeat(part: Tensor) -> Tensor:
        return part.expand(count, *part.shape[1:])

    hidden, cell, keys, (rows, read, usage) = state
    return State(repeat(hidden), repeat(cell), repeat(keys), Memory(repeat(rows), repeat(read), repeat(usage)))
