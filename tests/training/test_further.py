"""Evaluations beside the accuracy, on scorers whose scores are known by hand."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import Command
from embedded_tasks import Flat

from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.dependence import Dependence
from metalearn.data.bank import ClassBank
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.setting import Setting
from metalearn.run.directory.result import Result
from metalearn.training.evaluation import evaluate_further
from metalearn.training.evaluations.base import MetaTest, ranks, thinned
from metalearn.training.evaluations.incremental import Incremental
from metalearn.training.evaluations.open_set import OpenSet, known_from_unknown, log_odds
from metalearn.training.evaluations.retrieval import Retrieval, places_of
from metalearn.training.evaluations.verification import Verification, draw_pairs, same_from_different
from metalearn.training.module import FewShotModule
from metalearn.types import Predictor

CLASSES, EACH = 8, 6


class Pixels(Flat):
    """Backbone whose embedding is the image itself."""

    def forward(self, x: torch.Tensor, rows: object = None) -> torch.Tensor:
        return x.flatten(1)


def built(*, chance: bool, way: int = 2) -> MetaTest:
    """Builds a prototypical network whose images have one value for each class.

    With `chance`, all classes share one value.
    """
    images = np.zeros((CLASSES, EACH, 1, 1, CLASSES), dtype=np.uint8)
    if not chance:
        images[np.arange(CLASSES), :, 0, 0, np.arange(CLASSES)] = 255
    bank = ClassBank.from_classes(images, [str(c) for c in range(CLASSES)])
    algorithm = Prototypical(Pixels(CLASSES), temperature=0.1, batch_norm="running").eval()
    algorithm.register_parameter("scale", torch.nn.Parameter(torch.ones(())))  # gives the type of the weights
    return MetaTest(algorithm, bank, Setting(way, 1, 2), torch.device("cpu"))


def means(evaluation, meta_test: MetaTest) -> dict[str, float]:
    evaluation.check(meta_test)
    with torch.no_grad():
        scored = evaluation(meta_test)
    assert all(math.isfinite(number) for number in (*scored.curve.x, *scored.curve.y))
    return {name: score.mean for name, score in scored.scores.items()}


def test_open_set_of_a_perfect_and_of_a_chance_scorer() -> None:
    evaluation = OpenSet(num_episodes=5, unknown=3)
    perfect = {"auroc": 1.0, "fpr_at_95_tpr": 0.0, "accuracy_of_known": 1.0}
    assert means(evaluation, built(chance=False)) == pytest.approx(perfect)
    chance = {"auroc": 0.5, "fpr_at_95_tpr": 1.0, "accuracy_of_known": 0.5}
    assert means(evaluation, built(chance=True)) == pytest.approx(chance)


def test_open_set_by_hand() -> None:
    confidence = torch.tensor([0.9, 0.8, 0.6, 0.7, 0.5])
    is_known = torch.tensor([True, True, True, False, False])
    # One of 6 pairs of a known and an unknown query is in the wrong order. All known queries are
    # found above 0.5 alone.
    assert known_from_unknown(confidence, is_known) == pytest.approx({"auroc": 5 / 6, "fpr_at_95_tpr": 1 / 2})


def test_open_set_ranks_probabilities_that_round_to_one() -> None:
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    odds = torch.log(p := logits.softmax(-1).amax(-1)) - torch.log1p(-p)
    torch.testing.assert_close(log_odds(logits), odds)
    # The order of two-way probabilities does not depend on the scale of the logits.
    order = ranks(log_odds(logits[:, :2]))
    assert torch.equal(ranks(log_odds(1000 * logits[:, :2])), order)
    assert len((1000 * logits[:, :2]).softmax(-1).amax(-1).unique()) < 50 == len(order.unique())


def test_open_set_of_two_ways_does_not_depend_on_the_temperature() -> None:
    images = np.random.default_rng(0).integers(0, 256, (CLASSES, EACH, 1, 1, CLASSES)).astype(np.uint8)
    bank = ClassBank.from_classes(images, [str(c) for c in range(CLASSES)])
    meta_test, found = built(chance=True)._replace(bank=bank), []
    for temperature in (0.001, 10.0):
        meta_test.algorithm.temperature = temperature
        found.append(means(OpenSet(num_episodes=5, unknown=3), meta_test))
    assert found[0] == pytest.approx(found[1])


def test_verification_of_a_perfect_and_of_a_chance_scorer() -> None:
    evaluation = Verification(num_draws=2, pairs=1000)
    assert means(evaluation, built(chance=False)) == pytest.approx({"auc": 1.0, "eer": 0.0, "tar_at_far_0.001": 1.0})
    assert means(evaluation, built(chance=True)) == pytest.approx({"auc": 0.5, "eer": 0.5, "tar_at_far_0.001": 0.0})


def test_verification_by_hand() -> None:
    scores = torch.tensor([4.0, 3.0, 1.0, 0.0, 2.0, -1.0, -2.0, -3.0])
    same = torch.tensor([True] * 4 + [False] * 4)
    # The third and fourth pair of one class are below 2.0: 14 of 16 comparisons are in order, and
    # half of the pairs are accepted without error. At the threshold 1.0, one of four is wrongly
    # accepted and one of four wrongly refused.
    expected = {"auc": 14 / 16, "eer": 1 / 4, "tar_at_far_0.001": 1 / 2}
    assert same_from_different(scores, same) == pytest.approx(expected)


def test_scores_of_any_scale_keep_their_order_and_their_ties() -> None:
    scores = torch.tensor([-5000.0, -4000.0, -4000.0, 80.0, 90.0])
    torch.testing.assert_close(ranks(scores), torch.tensor([0, 1, 1, 2, 3], dtype=torch.float64) / 3)
    same = torch.tensor([False, False, False, True, True])
    assert same_from_different(scores, same)["auc"] == 1


class InBfloat16(Pixels):
    """Backbone that runs in the precision of the trainer alone."""

    def forward(self, x: torch.Tensor, rows: object = None) -> torch.Tensor:
        assert torch.get_default_dtype() == torch.bfloat16
        return super().forward(x, rows)


@contextmanager
def bfloat16() -> Iterator[None]:
    """The context that Lightning opens around a network whose weights are all in bfloat16."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "evaluation",
    [
        OpenSet(num_episodes=40, unknown=3),
        Verification(num_draws=2, pairs=3000),
        Retrieval(num_queries=40),
        Incremental(num_episodes=5, sessions=2),
    ],
    ids=lambda evaluation: evaluation.name,
)
def test_scores_are_counted_exactly_whatever_the_precision_of_the_network(evaluation) -> None:
    images = np.random.default_rng(0).integers(0, 256, (CLASSES, EACH, 1, 1, CLASSES)).astype(np.uint8)
    bank = ClassBank.from_classes(images, [str(c) for c in range(CLASSES)])
    meta_test = built(chance=True)._replace(bank=bank)
    expected = evaluation(meta_test)
    # The weights stay float32, so that the network computes the same.
    meta_test.algorithm.backbone.__class__ = InBfloat16
    compare, compared = meta_test.algorithm.compare, list[torch.dtype]()
    meta_test.algorithm.compare = lambda *task: compared.append(torch.get_default_dtype()) or compare(*task)
    assert evaluation(meta_test._replace(precision=bfloat16)) == expected
    assert set(compared) <= {torch.bfloat16}


def test_an_evaluation_of_a_run_has_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    meta_test, seen = built(chance=False), list[torch.dtype]()

    def forward(self: Pixels, x: torch.Tensor, rows: object = None) -> torch.Tensor:
        seen.append(torch.get_default_dtype())
        return x.flatten(1)

    monkeypatch.setattr(Pixels, "forward", forward)
    setting = replace(meta_test.setting, num_episodes=2)
    data = EpisodicDataModule({"test": meta_test.bank}, {"test": setting}, seed=0, tasks_per_batch=1)
    trainer = pl.Trainer(accelerator="cpu", precision="bf16-true", logger=False, enable_progress_bar=False)
    module = FewShotModule(meta_test.algorithm, torch.optim.Adam)
    evaluate_further(trainer, module, data, Retrieval(num_queries=3))
    assert set(seen) == {torch.bfloat16}


def test_pairs_are_compared_in_float32_at_least() -> None:
    a, b = torch.randn(2, 50, CLASSES, generator=torch.Generator().manual_seed(0)).bfloat16()
    torch.testing.assert_close(built(chance=True).similarity(a, b), -(a.float() - b.float()).square().sum(-1))


def test_the_points_of_a_curve_end_with_its_last_in_any_precision() -> None:
    y = [float(point) for point in range(40_001)]
    with bfloat16():
        assert thinned(y, y)[0][-1] == 40_000


def test_pairs_are_of_one_class_then_of_two() -> None:
    bank = built(chance=True).bank
    rows, same = draw_pairs(bank, 50, 0)
    assert torch.equal((rows[:, 0] // EACH) == (rows[:, 1] // EACH), same)
    assert (rows[:, 0] != rows[:, 1]).all()
    assert torch.equal(draw_pairs(bank, 50, 0)[0], rows)
    assert not torch.equal(draw_pairs(bank, 50, 1)[0], rows)


def test_retrieval_of_a_perfect_scorer_and_by_hand() -> None:
    perfect = {"recall_at_1": 1.0, "mean_average_precision": 1.0}
    assert means(Retrieval(num_queries=10), built(chance=False)) == pytest.approx(perfect)
    # The images of one class are at 0, 1, 10 on a line, the others at 2, 30. The values are the
    # ranks of the same class among the four other images.
    line = torch.tensor([0, 1, 10, 2, 30], dtype=torch.uint8).view(5, 1, 1, 1)
    bank = ClassBank(line, (np.array([0, 1, 2]), np.array([3, 4])), ("a", "b"))
    hits = [
        1,
        1,
        0,
        0,
        0,
    ]  # nearest to 0: 1, 2, 10, 30; to 1: 0 (or 2, equally far), 10, 30; to 10: 2; to 2: 1; to 30: 10
    found = means(Retrieval(num_queries=5), built(chance=False)._replace(bank=bank))
    of_zero, of_ten, of_two, of_thirty = (1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2, 1 / 4, 1 / 2
    of_one = [(1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2]  # depends on the order of the tie
    means_possible = [(of_zero + of_one_class + of_ten + of_two + of_thirty) / 5 for of_one_class in of_one]
    assert any(found["mean_average_precision"] == pytest.approx(mean, abs=1e-5) for mean in means_possible)
    assert found["recall_at_1"] in (pytest.approx(sum(hits) / 5), pytest.approx((sum(hits) - 1) / 5))


def test_equal_similarities_do_not_go_by_class() -> None:
    similarities = torch.tensor([0.5, 0.5, 0.9, 0.1, 0.5])
    order = torch.tensor([4, 2, 0, 3, 1])
    assert places_of(similarities, order).tolist() == [3, 4, 5, 1, 2]
    # Chance finds the class of the query first in 5 of 47 cases. By class, it was 1 or 0.
    found = means(Retrieval(num_queries=CLASSES * EACH), built(chance=True))
    assert found["recall_at_1"] == pytest.approx((EACH - 1) / (CLASSES * EACH - 1), abs=0.12)
    assert found["mean_average_precision"] == pytest.approx(0.19, abs=0.05)


def test_incremental_of_a_perfect_and_of_a_chance_scorer() -> None:
    evaluation = Incremental(num_episodes=4, sessions=3)
    perfect = {"accuracy_after_last": 1.0, "mean_accuracy": 1.0, "accuracy_lost": 0.0}
    assert means(evaluation, built(chance=False)) == pytest.approx(perfect)
    chance = {"accuracy_after_last": 1 / 6, "mean_accuracy": (1 / 2 + 1 / 4 + 1 / 6) / 3, "accuracy_lost": 1 / 3}
    assert means(evaluation, built(chance=True)) == pytest.approx(chance)


def test_incremental_predicts_the_queries_of_the_classes_so_far_alone() -> None:
    meta_test, asked = built(chance=False), []
    compare = meta_test.algorithm.compare

    def watched(support_z: torch.Tensor, support_y: torch.Tensor, query_z: torch.Tensor) -> torch.Tensor:
        asked.append(len(query_z.argmax(1).unique()))  # the classes of the queries
        return compare(support_z, support_y, query_z)

    meta_test.algorithm.compare = watched
    means(Incremental(num_episodes=1, sessions=3), meta_test)
    assert asked == [2, 4, 6, 4, 6, 6]


class Remembering(Prototypical):
    """Keeps its last support set in itself, which every predictor reads."""

    def adapt(self, support_x: torch.Tensor, support_y: torch.Tensor) -> Predictor:
        self.support = support_x.flatten(1), support_y
        return lambda query_x: self.compare(*self.support, query_x.flatten(1))


def test_incremental_predicts_with_a_session_before_it_adapts_to_the_next() -> None:
    meta_test = built(chance=False)
    meta_test.algorithm.__class__ = Remembering
    assert means(Incremental(num_episodes=2, sessions=3), meta_test)["accuracy_after_last"] == 1.0


def test_a_thinned_curve_keeps_its_ends() -> None:
    x, y = thinned(list(range(1000)), list(range(1000)))
    assert (len(x), x[0], x[-1], y == x) == (200, 0, 999, True)


@pytest.mark.parametrize("evaluation", [Verification(num_draws=1, pairs=1000), Retrieval(num_queries=5)])
def test_what_has_no_embedding_of_one_image_is_refused(evaluation) -> None:
    good = built(chance=False)
    with pytest.raises(ValueError, match="compares embeddings of single images, which .* lacks: use another algorithm"):
        evaluation.check(good._replace(algorithm=SimpleNamespace()))
    good.algorithm.dependence = lambda: Dependence("batch", transductive=True)
    with pytest.raises(ValueError, match="batch_norm=running"):
        evaluation.check(good)


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (OpenSet(num_episodes=1, unknown=7), "needs 9 meta-test classes, but there are 8: .*further.unknown"),
        (Incremental(num_episodes=1, sessions=5), "needs 10 meta-test classes, but there are 8: .*further.sessions"),
    ],
)
def test_more_classes_than_there_are_are_refused(evaluation, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}$"):
        evaluation.check(built(chance=True))


@pytest.mark.parametrize(
    ("algorithm", "name", "settings"),
    [("maml", "incremental", {"sessions": 2}), ("siamese", "verification", {"pairs": 1000, "num_draws": 2})],
)
def test_a_run_writes_what_it_is_evaluated_by(
    metalearn: Command, algorithm: str, name: str, settings: dict[str, int]
) -> None:
    overrides = [f"evaluation.further.{key}={value}" for key, value in settings.items()]
    finished = metalearn(f"algorithm={algorithm}", f"evaluation={name}", "episode.test.way=3", "episode.train.way=3",
                         "episode.val.way=3", *overrides)  # fmt: skip
    assert finished.code == 0, finished.text
    result = Result.from_json(finished.folder / "result.json")
    assert result.further is not None
    assert result.further.name == name
    assert len(result.further.curve.x) == len(result.further.curve.y) > 1
    assert all(0 <= score.mean <= 1 for score in result.further.scores.values())
