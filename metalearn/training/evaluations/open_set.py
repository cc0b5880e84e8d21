"""Open-set recognition: some queries belong to classes without support.

Bo Liu, Hao Kang, Haoxiang Li, Gang Hua, Nuno Vasconcelos. Few-Shot Open-Set Recognition using
Meta-Learning. CVPR 2020, arXiv 2005.13713. The largest probability of a query should distinguish
known classes from unknown ones.
"""

import torch
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_roc,
    binary_specificity_at_sensitivity,
)

from metalearn.estimates import Curve
from metalearn.stats import estimate
from metalearn.training.evaluations.base import AbstractEvaluation, MetaTest, Scored, check_episodes, ranks, thinned

SENSITIVITY = 0.95


class OpenSet(AbstractEvaluation):
    """Open-set evaluation of Liu et al. 2020, on episodes of meta-test.

    Args:
        num_episodes: number of episodes.
        unknown: number of further classes that give queries without support.

    Examples:
        >>> import numpy as np
        >>> from metalearn import MLP, ClassBank, Prototypical, Setting
        >>> images = np.zeros((10, 4, 1, 2, 2), dtype=np.uint8)
        >>> bank = ClassBank.from_classes(images, list("abcdefghij"))
        >>> algorithm = Prototypical(MLP([1, 2, 2]), batch_norm="running").eval()
        >>> meta_test = MetaTest(algorithm, bank, Setting(5, shot=1, query=3), torch.device("cpu"))
        >>> list(OpenSet(num_episodes=2, unknown=2)(meta_test).scores)
        ['auroc', 'fpr_at_95_tpr', 'accuracy_of_known']
    """

    name = "open_set"

    def __init__(self, *, num_episodes: int, unknown: int) -> None:
        if min(num_episodes, unknown) < 1:
            raise ValueError(f"evaluation.further: num_episodes={num_episodes} and unknown={unknown} must be positive")
        self.num_episodes, self.unknown = num_episodes, unknown

    def check(self, meta_test: MetaTest) -> None:
        ways = meta_test.setting.largest_way + self.unknown
        check_episodes(meta_test, ways, "evaluation=open_set", lower="evaluation.further.unknown")

    def __call__(self, meta_test: MetaTest) -> Scored:
        way = meta_test.setting.largest_way
        draws = meta_test.draws(way + self.unknown, self.num_episodes)
        inputs = meta_test.inputs_of(draws)
        found: dict[str, list[float]] = {"auroc": [], "fpr_at_95_tpr": [], "accuracy_of_known": []}
        confidences, knowns = [], []
        for episode in draws:
            shown = episode.support_ways < way
            support, ways = inputs(episode.support_rows[shown]), episode.support_ways[shown].to(meta_test.device)
            logits = meta_test.predict(support, ways, way, inputs(episode.query_rows)).double().cpu()  # (Q, N)
            is_known = episode.query_ways < way  # (Q,)
            confidence = log_odds(logits)  # (Q,)
            for name, value in known_from_unknown(confidence, is_known).items():
                found[name].append(value)
            right = logits.argmax(-1)[is_known] == episode.query_ways[is_known]
            found["accuracy_of_known"].append(right.double().mean().item())
            confidences.append(confidence)
            knowns.append(is_known)
        false, true, _ = binary_roc(ranks(torch.cat(confidences)), torch.cat(knowns).long())
        x, y = thinned(false.tolist(), true.tolist())
        curve = Curve("unknown queries taken for known", "known queries taken for known", x, y)
        return Scored({name: estimate(values) for name, values in found.items()}, curve)


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Computes log(p / (1 - p)) of the largest probability p: (Q, N) -> (Q,).

    It keeps the order of p, which itself rounds to 1 where the largest logit leads by more than 37.
    """
    first, others = logits.sort(-1, descending=True).values.tensor_split([1], dim=-1)
    return -(others - first).logsumexp(-1)


def known_from_unknown(confidence: torch.Tensor, is_known: torch.Tensor) -> dict[str, float]:
    """Computes the area under the ROC curve and the false positive rate: (Q,), (Q,).

    The rate is that of the threshold that finds 95 % of the known queries.
    """
    places, target = ranks(confidence), is_known.long()
    specificity, _ = binary_specificity_at_sensitivity(places, target, min_sensitivity=SENSITIVITY)
    return {"auroc": binary_auroc(places, target).item(), "fpr_at_95_tpr": 1 - specificity.item()}
