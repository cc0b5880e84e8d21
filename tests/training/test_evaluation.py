"""Protocols of the test: Lake's runs, several settings, other data, calibration and cost."""

import math

import numpy as np
import pytest

from metalearn.data.bank import ClassBank
from metalearn.data.splits import read_split
from metalearn.episodes.lake import lake_draws
from metalearn.episodes.setting import Setting
from metalearn.estimates import ErrorRate, Estimate
from metalearn.stats import wilson
from metalearn.training.evaluation import error_rate, named_setting

CHARACTERS = read_split("omniglot", "lake")["test"]


def omniglot(*, rotations: bool, drawings: int = 20) -> ClassBank:
    """Returns Lake's evaluation set in images of one pixel."""
    names = [name + turn for name in CHARACTERS for turn in (("/rot000", "/rot090") if rotations else ("",))]
    return ClassBank.from_classes(np.zeros((len(names), drawings, 1, 1, 1), np.uint8), names)


@pytest.mark.parametrize("rotations", [False, True])
def test_the_runs_of_lake_are_within_an_alphabet_and_from_two_hands(rotations: bool) -> None:
    bank = omniglot(rotations=rotations)
    draws = lake_draws(bank)
    assert len(draws) == 20
    place = {
        int(row): (name, drawing)
        for name, rows in zip(bank.names, bank.rows, strict=True)
        for drawing, row in enumerate(rows)
    }
    alphabets = []
    for episode in draws:
        support, query = ([place[row] for row in rows.tolist()] for rows in (episode.support_rows, episode.query_rows))
        assert [name for name, _ in support] == [name for name, _ in query]
        assert len({name for name, _ in support}) == episode.way == 20
        assert all(name.endswith("/rot000") == rotations for name, _ in support)
        (alphabet,) = {name.split("/")[0] for name, _ in support}
        (first,), (second,) = {drawing for _, drawing in support}, {drawing for _, drawing in query}
        assert first != second
        assert episode.support_ways.tolist() == episode.query_ways.tolist() == list(range(20))
        alphabets.append(alphabet)
    assert sorted(set(alphabets)) == sorted(alphabets[::2])  # ten alphabets, two runs each


def test_the_first_run_of_lake() -> None:
    bank = omniglot(rotations=False)
    first = lake_draws(bank)[0]
    classes = [bank.names[row // 20] for row in first.support_rows.tolist()]
    assert classes[0] == "Atlantean/character01"
    # class_labels.txt of run01: the fifth person.
    assert set((first.support_rows % 20).tolist()) == {4}
    assert set((first.query_rows % 20).tolist()) == {7}  # the eighth person


def test_lake_needs_the_evaluation_set_of_omniglot() -> None:
    bank = ClassBank.from_classes(np.zeros((3, 20, 1, 1, 1), np.uint8), ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"evaluation=lake needs dataset=omniglot with dataset.split=lake"):
        lake_draws(bank)
    with pytest.raises(ValueError, match="evaluation=lake needs"):
        lake_draws(omniglot(rotations=False, drawings=19))


@pytest.mark.parametrize(("name", "alphabets"), [("lake_small1", 5), ("lake_small2", 5), ("lake", 25)])
def test_background_sets_of_lake_share_nothing_with_what_is_tested(name: str, alphabets: int) -> None:
    split = read_split("omniglot", name)
    by_alphabet = {part: {character.split("/")[0] for character in characters} for part, characters in split.items()}
    assert len(by_alphabet["train"]) == alphabets
    assert not by_alphabet["train"] & by_alphabet["val"]
    assert not (by_alphabet["train"] | by_alphabet["val"]) & by_alphabet["test"]
    assert split["test"] == CHARACTERS


def test_wilson_against_the_quadratic_that_defines_it() -> None:
    for wrong, total in ((0, 400), (13, 400), (200, 400), (400, 400)):
        for bound in wilson(wrong, total):
            # The bounds are the p for which the observed fraction is 1.96 standard errors away.
            expected = 1.959963985 * math.sqrt(bound * (1 - bound) / total)
            assert abs(wrong / total - bound) == pytest.approx(expected, abs=1e-9)


def test_errors_are_counted_in_trials() -> None:
    rate = error_rate(Estimate(0.9675, 0.0, 0.0, num_episodes=20), 20)
    assert rate == ErrorRate(13 / 400, *wilson(13, 400), num_trials=400)


def test_a_setting_has_a_name() -> None:
    like = Setting([5, 9], [1, 5], 15, shots="unequal")
    assert named_setting("20w5s", like) == Setting(20, 5, 15)
    with pytest.raises(ValueError, match="evaluation.settings holds '5x1'"):
        named_setting("5x1", like)


def test_other_settings_are_tested_with_the_same_weights(metalearn) -> None:
    run = metalearn("evaluation.settings=[5w1s,3w2s]")
    assert run.code == 0, run.text
    others = run.result["evaluations"]
    assert list(others) == ["5w1s", "3w2s"]
    assert others["5w1s"]["accuracy"] == run.test["accuracy"]  # setting of episode.test
    assert others["5w1s"]["episodes_sha256"] == run.test["episodes_sha256"] != others["3w2s"]["episodes_sha256"]
    again = metalearn(
        "mode=test",
        f"checkpoint={run.folder}/checkpoints/best.ckpt",
        "episode.test.way=3",
        "episode.test.shot=2",
        small=False,
    )
    assert again.test["accuracy"] == others["3w2s"]["accuracy"]
    scores = np.load(run.folder / "test_episodes_3w2s.npz")
    assert scores["accuracy"].mean() == pytest.approx(others["3w2s"]["accuracy"]["mean"])
    assert "test_3w2s/accuracy" in (run.folder / "metrics.csv").read_text()
    assert "3w2s" in run.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("evaluation.settings=[9w1s]",),
            "evaluation.settings has 9w1s: way 9 exceeds the 8 classes of split 'test'",
        ),
        (("evaluation.settings=[5w]",), "evaluation.settings holds '5w'"),
        (("algorithm=maml", "evaluation.settings=[3w1s]"), "has 3w1s, but the linear head has 5 ways: leave it out"),
        (("evaluation=lake",), "evaluation=lake has runs of Omniglot alone: type dataset=omniglot"),
        (("test_dataset=glyphs", "test_dataset.input_shape=[1,14,14]"), "test_dataset has images of [1, 14, 14]"),
    ],
)
def test_a_test_that_cannot_be_is_refused_before_the_training(
    metalearn, overrides: tuple[str, ...], message: str
) -> None:
    run = metalearn(*overrides)
    assert run.code == 2, run.text
    assert message in run.text
    assert "Traceback" not in run.text


def test_another_data_set_can_be_tested_on(metalearn) -> None:
    other = [
        "test_dataset=glyphs",
        "test_dataset.seed=1",
        "test_dataset.num_alphabets=[1,1,1]",
        "test_dataset.characters=9",
    ]
    run = metalearn(*other)
    assert run.code == 0, run.text
    assert run.result["dataset"] == run.result["trained_dataset"] == run.result["test_dataset"] == "glyphs"
    same = metalearn()
    assert same.result["val"] == run.result["val"]
    assert same.test["episodes_sha256"] != run.test["episodes_sha256"]


def test_calibration_and_cost_are_told(metalearn) -> None:
    # Logits near 0: no confidence.
    run = metalearn("optimizer.lr=0.0", "algorithm.temperature=1.0e6")
    assert run.test["calibration_error"] == pytest.approx(abs(run.test["accuracy"]["mean"] - 1 / 5), abs=0.02)
    assert "adapt" not in run.result["seconds"]  # embedded images leave nothing to adapt
    assert 0 < run.result["seconds"]["predict"] < run.result["seconds"]["test"]


def test_unbalanced_episodes_train_and_test(metalearn) -> None:
    for shots in ("unequal", "meta_dataset"):
        run = metalearn(
            "episode.train.way=[3,5]", "episode.train.shot=[1,4]", f"episode.train.shots={shots}",
            "episode.test.shot=[1,3]", "episode.test.shots=unequal", "trainer.max_steps=4",
        )  # fmt: skip
        assert run.code == 0, run.text
        assert run.result["episode"]["train"]["shots"] == shots
