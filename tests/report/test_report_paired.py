"""Differences of methods on equal test episodes, and their significance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_folders import leave, regression, result

from metalearn.report.comparing.comparison import compare
from metalearn.report.comparing.paired import MOST_IN_FULL, Pairs, holm, leaders, pairs
from metalearn.report.reading.runs import find
from metalearn.report.tables.tables import LEADERS, settings
from metalearn.stats import estimate, two_sided_p

EPISODES = 200


def groups(folder: Path, scores: dict[tuple[str, int], np.ndarray], sha: dict[str, str] | None = None) -> list[Pairs]:
    """Returns the pairs of runs with scores by algorithm and seed; `sha` sets other episodes."""
    for i, ((algorithm, seed), values) in enumerate(scores.items()):
        fields = result(float(values.mean()), algorithm=algorithm, seed=seed)
        fields["test"]["episodes_sha256"] = (sha or {}).get(algorithm, "same")
        leave(folder / str(i), fields, values)
    return pairs(compare(find([folder]).runs))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_difference_is_the_mean_over_episodes_of_the_differences_of_the_means_over_seeds(tmp_path, rng) -> None:
    hard = rng.uniform(0.5, 0.9, EPISODES)
    scores = {("maml", s): (hard + rng.normal(0, 0.05, EPISODES)).astype(np.float32) for s in range(3)}
    scores |= {("anil", s): (hard - 0.02 + rng.normal(0, 0.05, EPISODES)).astype(np.float32) for s in range(2)}
    (group,) = groups(tmp_path, scores)
    maml, anil = (
        np.mean([v for (name, _), v in scores.items() if name == method], axis=0, dtype=np.float64)
        for method in ("maml", "anil")
    )
    (difference,) = group.all()
    expected = estimate(anil - maml)
    assert (difference.first.method.algorithm, difference.second.method.algorithm) == ("anil", "maml")
    assert (difference.mean, difference.ci95) == (pytest.approx(expected.mean), pytest.approx(expected.ci95))
    assert difference.real and not difference.better


def test_pairing_finds_what_two_separate_intervals_do_not(tmp_path, rng) -> None:
    hard = rng.uniform(0.2, 0.9, EPISODES)
    better = hard + 0.02 + rng.normal(0, 0.01, EPISODES)
    (group,) = groups(tmp_path, {("maml", 0): hard, ("anil", 0): better})
    said = [note.text for note in settings(compare(find([tmp_path]).runs), leaders([group])).notes]
    assert LEADERS in said
    assert estimate(hard).ci95 > 0.02
    assert group.between(0, 1).real


def test_a_method_whose_scores_are_lost_is_not_claimed_to_be_worse_than_the_bold_one(tmp_path, rng) -> None:
    means = {"maml": 0.9, "anil": 0.6, "boil": 0.5}
    scores = {(name, 0): mean + rng.normal(0, 0.01, EPISODES) for name, mean in means.items()}
    groups(tmp_path, scores)
    (tmp_path / "0/test_episodes.npz").unlink()
    comparison = compare(find([tmp_path]).runs)
    sheet = settings(comparison, leaders(pairs(comparison)))
    assert [row[1].tone for row in sheet.rows] == ["plain", "good", "plain"]
    assert f"{LEADERS}; only the largest set of methods with scores of the same test episodes counts" in [
        note.text for note in sheet.notes
    ]


def test_the_note_on_bold_cells_states_that_one_with_incomplete_runs_is_not_bold(tmp_path, rng) -> None:
    groups(tmp_path, {("maml", 0): rng.uniform(size=EPISODES), ("anil", 0): rng.uniform(size=EPISODES)})
    leave(tmp_path / "failed", result(None, status="failed", algorithm="maml", seed=1))
    comparison = compare(find([tmp_path]).runs)
    sheet = settings(comparison, leaders(pairs(comparison)))
    assert {row[0].text: row[1].tone for row in sheet.rows} == {"maml": "bad", "anil": "good"}
    assert f"{LEADERS}; a cell with incomplete runs is never bold" in [note.text for note in sheet.notes]


def test_only_runs_on_the_same_episodes_are_paired(tmp_path, rng) -> None:
    scores = {(name, 0): rng.uniform(size=EPISODES) for name in ("maml", "anil", "boil")}
    (group,) = groups(tmp_path, scores, {"boil": "other"})
    assert sorted(cell.method.algorithm for cell in group.cells) == ["anil", "maml"]


def test_methods_of_other_folds_are_not_paired(tmp_path, rng) -> None:
    folds = {"maml": range(5), "anil": range(5), "boil": range(2)}
    for algorithm, numbers in folds.items():
        for fold in numbers:
            fields = result(0.5 + 0.1 * fold, algorithm=algorithm, fold=fold)
            fields["test"]["episodes_sha256"] = str(fold)
            leave(tmp_path / f"{algorithm}{fold}", fields, rng.uniform(size=EPISODES))
    (group,) = pairs(compare(find([tmp_path]).runs))
    assert sorted(cell.method.algorithm for cell in group.cells) == ["anil", "maml"]
    assert set(group.cells[0].episodes) == {"0", "1", "2", "3", "4"}


def test_methods_that_weigh_their_folds_otherwise_are_not_paired(tmp_path, rng) -> None:
    runs = {"maml": [(0, 0), (1, 0)], "anil": [(0, 0), (1, 0), (0, 1), (1, 1)], "boil": [(0, 0), (1, 0), (1, 1)]}
    for algorithm, places in runs.items():
        for fold, seed in places:
            fields = result(0.5 + 0.1 * fold, algorithm=algorithm, fold=fold, seed=seed)
            fields["test"]["episodes_sha256"] = str(fold)
            leave(tmp_path / f"{algorithm}{fold}{seed}", fields, rng.uniform(size=EPISODES))
    (group,) = pairs(compare(find([tmp_path]).runs))
    assert sorted(cell.method.algorithm for cell in group.cells) == ["anil", "maml"]


def test_the_smaller_of_two_errors_is_better(tmp_path, rng) -> None:
    for algorithm, error in {"maml": 0.7, "anil": 0.5}.items():
        leave(tmp_path / algorithm, regression(error, algorithm=algorithm), error + rng.normal(0, 0.01, EPISODES))
    (group,) = pairs(compare(find([tmp_path]).runs))
    assert [cell.method.algorithm for cell in group.cells] == ["anil", "maml"]
    assert group.between(0, 1).better and not group.between(1, 0).better


def test_equal_scores_differ_by_nothing(tmp_path, rng) -> None:
    scores = rng.uniform(size=EPISODES)
    (group,) = groups(tmp_path, {("maml", 0): scores, ("anil", 0): scores})
    difference = group.between(0, 1)
    assert (difference.mean, difference.ci95, difference.p, difference.real) == (0, 0, 1, False)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e6])
def test_a_difference_of_errors_does_not_depend_on_their_unit(tmp_path, rng, unit: float) -> None:
    scores = {("maml", 0): rng.uniform(size=EPISODES), ("anil", 0): rng.uniform(size=EPISODES)}
    (group,) = groups(tmp_path / "1", scores)
    (scaled,) = groups(tmp_path / "2", {method: unit * values for method, values in scores.items()})
    assert (scaled.p, scaled.ci95) == (pytest.approx(group.p), pytest.approx(unit * group.ci95))
    assert not scaled.between(0, 1).real


def test_one_query_with_another_answer_is_no_real_difference(tmp_path, rng) -> None:
    scores = rng.integers(20, 60, EPISODES) / 75
    (group,) = groups(tmp_path, {("maml", 0): scores, ("anil", 0): scores + np.eye(EPISODES)[0] / 75})
    # The mean is d / E and its standard error is (d² / E) ** 0.5 / E ** 0.5, so t is 1.
    assert group.between(0, 1).p == pytest.approx(two_sided_p(np.array([1.0]), EPISODES - 1)[0], rel=1e-3)


def test_one_episode_shows_no_difference(tmp_path) -> None:
    assert groups(tmp_path, {("maml", 0): np.zeros(1), ("anil", 0): np.ones(1)}) == []


def test_a_constant_difference_is_real(tmp_path, rng) -> None:
    scores = rng.integers(0, 50, EPISODES) / 64
    (group,) = groups(tmp_path, {("maml", 0): scores, ("anil", 0): scores + 1 / 64})
    assert group.between(0, 1).real


def test_the_p_of_a_few_episodes_agrees_with_their_interval(tmp_path, rng) -> None:
    found = []
    for table in range(200):
        scores = {(name, 0): rng.normal(size=5) for name in ("maml", "anil")}
        (group,) = groups(tmp_path / str(table), scores)
        found.append(group.between(0, 1))
    assert all(difference.real == (abs(difference.mean) > difference.ci95) for difference in found)
    # 10 are expected; the normal quantile would give 24.
    assert sum(difference.real for difference in found) <= 16


def test_p_is_corrected_for_all_pairs_of_a_column_whatever_their_episodes(tmp_path, rng) -> None:
    sets = {"first": ("maml", "anil"), "second": ("boil", "siamese", "triplet")}
    scores = {(name, 0): rng.normal(size=EPISODES) for names in sets.values() for name in names}
    sha = {name: episodes for episodes, names in sets.items() for name in names}
    together = groups(tmp_path / "all", scores, sha)
    assert sorted(len(group.cells) for group in together) == [2, 3]
    assert {cell.method.algorithm for cell in leaders(together)} <= {*sets["second"]}  # the larger group
    leave(tmp_path / "all/failed", result(None, dataset="omniglot", status="failed"))
    comparison = compare(find([tmp_path / "all"]).runs)
    said = [note.text for note in settings(comparison, leaders(together)).notes]
    assert any(text.startswith(LEADERS) and "only the largest set of methods with scores" in text for text in said)
    names = [(a, b) for group in sets.values() for i, a in enumerate(group) for b in group[i + 1 :]]
    alone = {}
    for a, b in names:
        (pair,) = groups(tmp_path / f"{a}-{b}", {(name, 0): scores[name, 0] for name in (a, b)})
        alone[frozenset((a, b))] = pair.between(0, 1).p
    expected = dict(zip(alone, holm(np.array([*alone.values()])), strict=True))
    for group in together:
        for difference in group.all():
            pair = frozenset((difference.first.method.algorithm, difference.second.method.algorithm))
            assert difference.p == pytest.approx(expected[pair])
            assert difference.p > alone[pair]


def test_holm_by_hand() -> None:
    assert holm(np.array([0.04, 0.01, 0.02])).tolist() == pytest.approx([0.04, 0.03, 0.04])
    assert holm(np.array([0.7, 0.6])).tolist() == [1.0, 1.0]


def test_among_methods_that_are_all_the_same_hardly_one_table_in_twenty_has_a_real_difference(tmp_path, rng) -> None:
    corrected, uncorrected = 0, 0
    for table in range(60):
        (group,) = groups(tmp_path / str(table), {(f"m{i}", 0): rng.uniform(size=EPISODES) for i in range(8)})
        found = list(group.all())
        corrected += any(difference.real for difference in found)
        uncorrected += any(abs(difference.mean) > difference.ci95 for difference in found)
    assert corrected <= 8 < uncorrected


def test_beyond_a_number_of_methods_only_the_best_is_compared(tmp_path, rng) -> None:
    many = MOST_IN_FULL + 1
    (group,) = groups(tmp_path, {(f"m{i}", 0): rng.uniform(size=20) for i in range(many)})
    assert len(list(group.all())) == len(list(group.with_best())) == many - 1
    assert all(difference.second is group.cells[0] for difference in group.all())
    fewer = replace(group, cells=group.cells[:-1])
    assert len(list(fewer.all())) == MOST_IN_FULL * (MOST_IN_FULL - 1) / 2
