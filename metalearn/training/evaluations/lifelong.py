"""Life-long memory: classes come back in later episodes, and nothing is forgotten on purpose.

Łukasz Kaiser, Ofir Nachum, Aurko Roy, Samy Bengio. Learning to Remember Rare Events. ICLR 2017,
arXiv 1703.03129: the memory is never emptied. A stream of episodes asks for each row before it
shows its label. The accuracy is scored against the number of earlier rows of the class.

K  streams    L  rows of a stream    C  classes of a stream
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.episodes.loaders import EVALUATION_SEED
from metalearn.estimates import Curve
from metalearn.stats import estimate
from metalearn.training.evaluations.base import AbstractEvaluation, MetaTest, Scored, check_embeds, check_episodes


class Lifelong(AbstractEvaluation):
    """Life-long evaluation of a memory, after Kaiser et al. 2017.

    A stream goes through its classes `rounds` times. Each round divides them anew into episodes of
    `way` classes and `shot` rows, which no earlier episode of the stream has shown. Every row can
    be taken for any class that the stream has shown so far.

    Args:
        num_streams: number of streams K, each with an empty memory at its start.
        classes: number of classes C of a stream, drawn from meta-test.
        rounds: number of episodes in which a class is.

    Examples:
        >>> from metalearn import MLP, ClassBank, Setting
        >>> from metalearn.algorithms.key_value_memory import KeyValueMemory
        >>> images = np.zeros((10, 4, 1, 2, 2), dtype=np.uint8)
        >>> bank = ClassBank.from_classes(images, list("abcdefghij"))
        >>> algorithm = KeyValueMemory(
        ...     MLP([1, 2, 2]), slots=64, margin=0.1, inverse_temperature=40.0, batch_norm="running"
        ... ).eval()
        >>> meta_test = MetaTest(algorithm, bank, Setting(5, shot=1, query=3), torch.device("cpu"))
        >>> evaluation = Lifelong(num_streams=2, classes=10, rounds=3)
        >>> list(evaluation(meta_test).scores)
        ['accuracy_after_1', 'accuracy_after_all', 'mean_accuracy']
    """

    name = "lifelong"

    def __init__(self, *, num_streams: int, classes: int, rounds: int) -> None:
        if num_streams < 1 or min(classes, rounds) < 2:
            raise ValueError(
                f"evaluation.further: num_streams={num_streams} must be positive, classes={classes} and "
                f"rounds={rounds} at least 2"
            )
        self.num_streams, self.classes, self.rounds = num_streams, classes, rounds

    def check(self, meta_test: MetaTest) -> None:
        key = "evaluation=lifelong"
        if not hasattr(meta_test.algorithm, "follow") or meta_test.algorithm.fixed_way is not None:
            name = type(meta_test.algorithm).__name__
            raise ValueError(f"{key} keeps a memory of any classes, which {name} lacks: use algorithm=key_value_memory")
        check_embeds(meta_test, key)
        check_episodes(meta_test, self.classes, key, lower="evaluation.further.classes")
        needed = self.rounds * meta_test.setting.largest_shot
        if len(_classes_with(meta_test, needed)) < self.classes:
            raise ValueError(
                f"{key} needs {self.classes} meta-test classes of {needed} rows; there are "
                f"{len(_classes_with(meta_test, needed))}: lower evaluation.further.classes or rounds"
            )

    def __call__(self, meta_test: MetaTest) -> Scored:
        streams = [self.stream(meta_test, number) for number in range(self.num_streams)]
        rows, ways = (torch.stack(part) for part in zip(*streams, strict=True))  # (K, L) each
        z = meta_test.embeddings(rows)(rows)  # (K, L, D)
        with meta_test.precision():
            y = F.one_hot(ways, self.classes).to(z)  # (K, L, C)
            scores = meta_test.algorithm.follow(z, y)  # type: ignore[operator]  # (K, L, C)
        by_count = accuracy_by_count(scores.cpu(), ways)[:, 1:]  # (K, counts)  after 1, 2, ... rows of the class
        found = {
            "accuracy_after_1": by_count[:, 0],
            "accuracy_after_all": by_count[:, -1],
            "mean_accuracy": by_count.mean(1),
        }
        counts = [float(1 + count) for count in range(by_count.shape[1])]
        curve = Curve("earlier rows of the class", "accuracy", counts, by_count.mean(0).tolist())
        return Scored({name: estimate(values.numpy()) for name, values in found.items()}, curve)

    def stream(self, meta_test: MetaTest, number: int) -> tuple[Tensor, Tensor]:
        """Draws the rows of the bank in a stream, (L,), and their classes 0 .. C - 1, (L,)."""
        rng = np.random.default_rng([EVALUATION_SEED, number])
        way, shot = meta_test.setting.largest_way, meta_test.setting.largest_shot
        drawn = rng.permutation(_classes_with(meta_test, self.rounds * shot))[: self.classes]
        images = np.stack([rng.permutation(meta_test.bank.rows[c])[: self.rounds * shot] for c in drawn])
        images = images.reshape(self.classes, self.rounds, shot)
        rows, ways = [], []
        for turn in range(self.rounds):
            order = rng.permutation(self.classes)
            for begin in range(0, self.classes, way):
                members = order[begin : begin + way]
                mix = rng.permutation(len(members) * shot)
                rows.append(images[members, turn].flatten()[mix])
                ways.append(members.repeat(shot)[mix])
        return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(ways))


def accuracy_by_count(scores: Tensor, ways: Tensor) -> Tensor:
    """Computes the accuracy of the rows that have 0, 1, ... earlier rows of their class.

    Shapes: (K, L, C), (K, L) -> (K, counts). All classes of a stream have as many rows.
    """
    y = F.one_hot(ways, scores.shape[2])  # (K, L, C)
    earlier = ((y.cumsum(1) - y) * y).sum(2)  # (K, L)
    right = (scores.argmax(2) == ways).double()  # (K, L)
    counts = range(int(earlier.max()) + 1)
    return torch.stack([(right * (earlier == count)).sum(1) / (earlier == count).sum(1) for count in counts], dim=1)


def _classes_with(meta_test: MetaTest, rows: int) -> list[int]:
    return [c for c, of_class in enumerate(meta_test.bank.rows) if len(of_class) >= rows]
