"""Retrieval: do the most similar meta-test images of a query share its class?

Hyun Oh Song, Yu Xiang, Stefanie Jegelka, Silvio Savarese. Deep Metric Learning via Lifted
Structured Feature Embedding. CVPR 2016, arXiv 1511.06452. Each query is compared with all other
meta-test images, without a support set.
"""

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_hit_rate

from metalearn.data.bank import ClassBank
from metalearn.episodes.loaders import EVALUATION_SEED
from metalearn.episodes.seeds import QUERIES, TIES, generator
from metalearn.estimates import Curve
from metalearn.stats import estimate
from metalearn.training.evaluations.base import AbstractEvaluation, MetaTest, Scored, check_embeds

DEPTHS = (1, 2, 4, 8, 16, 32)
"""Values of K in the curve of recall@K, from Song et al. 2016."""


class Retrieval(AbstractEvaluation):
    """Retrieval evaluation of Song et al. 2016, among all images of meta-test.

    Args:
        num_queries: number of query images, drawn without repetition.

    Examples:
        >>> import numpy as np
        >>> from metalearn import MLP, ClassBank, Prototypical, Setting
        >>> images = np.zeros((10, 4, 1, 2, 2), dtype=np.uint8)
        >>> bank = ClassBank.from_classes(images, list("abcdefghij"))
        >>> algorithm = Prototypical(MLP([1, 2, 2]), batch_norm="running").eval()
        >>> meta_test = MetaTest(algorithm, bank, Setting(5, shot=1, query=3), torch.device("cpu"))
        >>> list(Retrieval(num_queries=20)(meta_test).scores)
        ['recall_at_1', 'mean_average_precision']
    """

    name = "retrieval"

    def __init__(self, *, num_queries: int) -> None:
        if num_queries < 1:
            raise ValueError(f"evaluation.further: num_queries={num_queries} must be positive")
        self.num_queries = num_queries

    def check(self, meta_test: MetaTest) -> None:
        check_embeds(meta_test, "evaluation=retrieval")
        if max(map(len, meta_test.bank.rows)) < 2:
            raise ValueError("evaluation=retrieval needs a meta-test class of two images at least")

    def __call__(self, meta_test: MetaTest) -> Scored:
        rows, classes, queries = self.draw(meta_test.bank)
        z = meta_test.embeddings(rows)(rows)  # (M, D)
        rng = generator(EVALUATION_SEED, "test", 0, TIES)
        found: dict[str, list[float]] = {"mean_average_precision": []}
        hits: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
        for query in queries.tolist():
            others = torch.arange(len(rows)) != query  # (M,)
            similarities = meta_test.similarity(z[query].expand_as(z), z)[others.to(z.device)]
            same = (classes == classes[query])[others]
            places = places_of(similarities.cpu(), torch.from_numpy(rng.permutation(len(same))))
            found["mean_average_precision"].append(retrieval_average_precision(places, same).item())
            for depth in DEPTHS:
                hits[depth].append(retrieval_hit_rate(places, same, top_k=min(depth, len(same))).item())
        found = {"recall_at_1": hits[1], **found}
        curve = Curve("K", "recall@K", [float(k) for k in DEPTHS], [float(np.mean(hits[k])) for k in DEPTHS])
        return Scored({name: estimate(values) for name, values in found.items()}, curve)

    def draw(self, bank: ClassBank) -> tuple[Tensor, Tensor, Tensor]:
        """Draws the queries; each has other images of its class.

        Returns all rows of the bank (M,), their classes (M,), and the places of the queries.
        """
        rows, sizes = np.concatenate(bank.rows), np.array([len(own) for own in bank.rows])
        classes = np.repeat(np.arange(bank.num_classes), sizes)
        can_ask = np.flatnonzero(sizes[classes] > 1)
        rng = generator(EVALUATION_SEED, "test", 0, QUERIES)
        queries = rng.choice(can_ask, min(self.num_queries, len(can_ask)), replace=False)
        return torch.from_numpy(rows), torch.from_numpy(classes), torch.from_numpy(queries)


def places_of(similarities: Tensor, order: Tensor) -> Tensor:
    """Returns the places of images from the least similar one on, 1 .. M: (M,), (M,) -> (M,).

    Equal similarities have places in a given order, a permutation, since that of a bank goes by
    class. torchmetrics would count scores that are not positive as not found.
    """
    places = torch.empty(len(order), dtype=torch.float64)
    places[order[similarities[order].argsort(stable=True)]] = torch.arange(1, len(order) + 1).double()
    return places
