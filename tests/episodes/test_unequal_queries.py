"""Episodes with unequal queries: the rule, its limits, and the report."""

import numpy as np
import pytest
import torch
from conftest import SMALL, Command

from metalearn.data.bank import ClassBank
from metalearn.episodes.counts import dirichlet_queries
from metalearn.episodes.sampling import draw
from metalearn.episodes.setting import Setting, Shape
from metalearn.report.comparing.protocol import column
from metalearn.report.reading.runs import find
from metalearn.report.reading.scores import ACCURACY
from metalearn.training.evaluation import settings_beside

UNEQUAL = Setting(5, 1, 3, queries="unequal")


def shapes(setting: Setting, count: int = 300) -> list[Shape]:
    return [setting.shape(10, seed=0, split="test", batch=batch) for batch in range(count)]


def test_counts_are_the_nearest_to_their_shares() -> None:
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    for _ in range(200):
        counts = np.array(dirichlet_queries(rng, 75, [99] * 5))
        shares = 75 * again.dirichlet([2.0] * 5)
        assert counts.sum() == 75
        assert np.abs(counts - shares).max() < 1
        rounded_up = counts > shares
        assert not rounded_up.any() or (shares % 1)[rounded_up].min() >= (shares % 1)[~rounded_up].max()


def test_counts_vary_as_a_dirichlet_distribution() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([dirichlet_queries(rng, 100, [100] * 4) for _ in range(2000)]) / 100
    np.testing.assert_allclose(counts.mean(0), 1 / 4, atol=0.01)
    np.testing.assert_allclose(counts.var(0), 1 / 4 * 3 / 4 / (4 * 2 + 1), rtol=0.1)


def test_no_class_has_more_queries_than_images() -> None:
    rng = np.random.default_rng(0)
    drawn = [dirichlet_queries(rng, 12, [9, 4, 2]) for _ in range(300)]
    assert all(sum(counts) == 12 and np.less_equal(counts, [9, 4, 2]).all() for counts in drawn)
    assert any(counts[0] == 9 for counts in drawn)
    assert dirichlet_queries(rng, 15, [9, 4, 2]) == (9, 4, 2)


def test_an_episode_has_as_many_queries_as_before_and_is_a_function_of_its_index(bank: ClassBank) -> None:
    drawn = shapes(UNEQUAL)
    assert drawn == shapes(UNEQUAL)
    assert all(sum(shape.queries) == 15 and shape.shots == (1,) * 5 for shape in drawn)
    assert len(set(drawn)) > 100
    assert 0 in {count for shape in drawn for count in shape.queries}
    for index, shape in enumerate(drawn[:30]):
        episode = draw(bank.rows, shape, seed=0, split="test", index=index)
        assert tuple(torch.bincount(episode.query_ways, minlength=5).tolist()) == shape.queries
        assert len(torch.cat([episode.support_rows, episode.query_rows]).unique()) == 20
        for row, way in zip(episode.query_rows, episode.query_ways, strict=True):
            assert row // 10 == episode.support_rows[episode.support_ways == way] // 10


def test_equal_queries_are_drawn_as_ever() -> None:
    assert shapes(Setting(5, 1, 3), 1) == [Shape((1,) * 5, (3,) * 5)]
    equal, unequal = (shapes(Setting([3, 5], [1, 4], 2, "unequal", queries)) for queries in ("equal", "unequal"))
    assert [shape.shots for shape in equal] == [shape.shots for shape in unequal]
    assert [sum(shape.queries) for shape in equal] == [sum(shape.queries) for shape in unequal]


@pytest.mark.parametrize(
    ("like", "names", "jointly", "expected"),
    [
        (Setting(5, 1, 3), None, True, ["5w1s-unequal"]),
        (Setting(5, 1, 3), None, False, []),
        (Setting(5, 1, 3), [], True, []),
        (Setting(5, 1, 3), ["3w2s"], True, ["3w2s"]),
        (Setting(5, 1, 3, queries="unequal"), None, True, []),
        (Setting([3, 5], 1, 3), None, True, []),
    ],
)
def test_a_method_that_may_rest_on_equal_queries_is_tested_on_unequal_ones_too(
    like: Setting, names: list[str] | None, jointly: bool, expected: list[str]
) -> None:
    assert list(settings_beside(like, names, predicts_jointly=jointly)) == expected


def test_both_are_columns_of_the_report(metalearn: Command) -> None:
    run = metalearn("algorithm=soft_kmeans")
    assert run.code == 0, run.text
    assert run.result["transductive"]
    unequal = run.result["evaluations"]["5w1s-unequal"]
    assert unequal["episodes_sha256"] != run.test["episodes_sha256"]
    columns = [str(column(found.result, ACCURACY)) for found in find([run.folder]).runs]
    assert columns == ["glyphs 5-way 1-shot", "glyphs 5-way 1-shot unequal queries"]


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("episode.test.queries=other",), "episode.test.queries"),
        (("dataset=sinusoid", "algorithm=maml", "episode.test.queries=unequal"), "queries=unequal is for classes"),
        ((*SMALL, "evaluation.settings=[5w1s-odd]"), "5w1s-unequal for unequal queries"),
    ],
)
def test_what_cannot_be_is_refused(metalearn: Command, overrides: tuple[str, ...], why: str) -> None:
    refused = metalearn(*overrides, small=False)
    assert refused.code == 2
    assert why in refused.text
