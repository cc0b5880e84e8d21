"""Verification: do two images share a class?

Gregory Koch, Richard Zemel, Ruslan Salakhutdinov. Siamese Neural Networks for One-shot Image
Recognition. 2015. Pairs of meta-test images are scored by the similarity of their embeddings,
without a support set.
"""

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_eer,
    binary_roc,
    binary_sensitivity_at_specificity,
)

from metalearn.data.bank import ClassBank
from metalearn.episodes.loaders import EVALUATION_SEED
from metalearn.episodes.seeds import PAIRS, generator
from metalearn.estimates import Curve
from metalearn.stats import estimate
from metalearn.training.evaluations.base import AbstractEvaluation, MetaTest, Scored, check_embeds, ranks, thinned

FALSE_ACCEPT = 1e-3


class Verification(AbstractEvaluation):
    """Verification evaluation of Koch et al. 2015.

    Args:
        num_draws: number of draws; the interval is over them.
        pairs: number P of pairs of one class, and of pairs of two classes, in a draw.

    Examples:
        >>> import numpy as np
        >>> from metalearn import MLP, ClassBank, Prototypical, Setting
        >>> images = np.zeros((10, 4, 1, 2, 2), dtype=np.uint8)
        >>> bank = ClassBank.from_classes(images, list("abcdefghij"))
        >>> algorithm = Prototypical(MLP([1, 2, 2]), batch_norm="running").eval()
        >>> meta_test = MetaTest(algorithm, bank, Setting(5, shot=1, query=3), torch.device("cpu"))
        >>> list(Verification(num_draws=2, pairs=1000)(meta_test).scores)
        ['auc', 'eer', 'tar_at_far_0.001']
    """

    name = "verification"

    def __init__(self, *, num_draws: int, pairs: int) -> None:
        if num_draws < 1 or pairs * FALSE_ACCEPT < 1:
            raise ValueError(
                f"evaluation.further: num_draws={num_draws} must be positive, and pairs={pairs} at least "
                f"{round(1 / FALSE_ACCEPT)}, since one false accept of so many is counted"
            )
        self.num_draws, self.pairs = num_draws, pairs

    def check(self, meta_test: MetaTest) -> None:
        check_embeds(meta_test, "evaluation=verification")
        if meta_test.bank.num_classes < 2 or max(map(len, meta_test.bank.rows)) < 2:
            raise ValueError("evaluation=verification needs two meta-test classes, and one of two images at least")

    def __call__(self, meta_test: MetaTest) -> Scored:
        draws = [draw_pairs(meta_test.bank, self.pairs, index) for index in range(self.num_draws)]
        inputs = meta_test.embeddings(torch.cat([rows.flatten() for rows, _ in draws]))
        found: dict[str, list[float]] = {"auc": [], "eer": [], "tar_at_far_0.001": []}
        scores = []
        for rows, same in draws:
            a, b = (inputs(side) for side in rows.T)  # (2 P, D) each
            scores.append(meta_test.similarity(a, b).cpu())
            for name, value in same_from_different(scores[-1], same).items():
                found[name].append(value)
        false, true, _ = binary_roc(ranks(torch.cat(scores)), torch.cat([same for _, same in draws]).long())
        x, y = thinned(false.tolist(), true.tolist())
        curve = Curve("pairs of two classes accepted", "pairs of one class accepted", x, y)
        return Scored({name: estimate(values) for name, values in found.items()}, curve)


def draw_pairs(bank: ClassBank, pairs: int, index: int) -> tuple[Tensor, Tensor]:
    """Draws rows (2 P, 2) of P pairs of one class, then P of two classes, and a mask (2 P,).

    The mask is true for pairs of one class. The draw is a function of `index`.
    """
    rng = generator(EVALUATION_SEED, "test", index, PAIRS)
    several = [rows for rows in bank.rows if len(rows) > 1]
    rows = []
    for of_class in rng.integers(len(several), size=pairs):
        rows.append(rng.choice(several[of_class], 2, replace=False))
    for first, step in zip(
        rng.integers(bank.num_classes, size=pairs), rng.integers(1, bank.num_classes, size=pairs), strict=True
    ):
        rows.append(np.array([rng.choice(bank.rows[c]) for c in (first, (first + step) % bank.num_classes)]))
    return torch.from_numpy(np.stack(rows)), torch.arange(2 * pairs) < pairs


def same_from_different(scores: Tensor, same: Tensor) -> dict[str, float]:
    """Computes area under the ROC curve, equal error rate, and true accept rate: (B,), (B,).

    The true accept rate is that of 1 false accept among 1,000.
    """
    places, target = ranks(scores), same.long()
    accepted, _ = binary_sensitivity_at_specificity(places, target, min_specificity=1 - FALSE_ACCEPT)
    return {
        "auc": binary_auroc(places, target).item(),
        "eer": binary_eer(places, target).item(),
        "tar_at_far_0.001": accepted.item(),
    }
