"""result.json as an object: round trips, and refusals that name the odd value in one line."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from run_folders import episode, result

from metalearn.run.directory.result import Estimate, Result


def read(**changes: Any) -> Result:
    return Result.from_json(json.dumps(result(**changes)))


@pytest.mark.parametrize(
    "overrides",
    [
        ("algorithm=maml", "evaluation.settings=[3w1s]", "episode.val.way=5", "published={accuracy: 0.9, source: me}"),
        ("dataset=sinusoid", "algorithm=maml"),
        ("algorithm=baseline", "episode.test.shot=[1,3]", "episode.test.shots=unequal"),
        ("episode.test.way=500",),
    ],
)
def test_what_a_run_writes_comes_back_as_it_was(metalearn, overrides: tuple[str, ...]) -> None:
    small = "dataset=sinusoid" not in overrides
    others = () if small else ("trainer.max_steps=2", "trainer.val_check_interval=2", "episode.test.num_episodes=4")
    folder = metalearn(*overrides, *others, small=small).folder
    written = json.loads((folder / "result.json").read_text())
    assert written["schema"] == 3
    assert json.loads(Result.from_json(folder / "result.json").to_json()) == written


def test_a_run_that_ended_early_has_none_for_what_it_did_not_reach() -> None:
    early = read()
    assert early.episode.test.shots == "equal"
    assert (early.published, early.evaluations, early.problem) == (None, None, None)


def test_a_run_without_a_test_has_null_for_it() -> None:
    untested = json.loads(read(test=None, val=None).to_json())
    assert (untested["test"], untested["val"]) == (None, None)


def test_null_is_no_number_where_one_must_be() -> None:
    lost = read(test={"accuracy": {"mean": None, "std": None, "ci95": None, "num_episodes": 3}})
    assert lost.test is not None and math.isnan(lost.test.accuracy.mean)
    assert json.loads(lost.to_json())["test"]["accuracy"]["mean"] is None


@pytest.mark.parametrize(
    ("accuracy", "loss", "diverged"),
    [(0.5, 1.0, False), (0.2, None, True), (None, 1.0, True)],
)
def test_a_test_has_diverged_where_any_of_it_is_no_number(accuracy: float, loss: float, diverged: bool) -> None:
    means = {"accuracy": accuracy, "loss": loss}
    test = {name: {"mean": mean, "std": 0.1, "ci95": 0.1, "num_episodes": 5} for name, mean in means.items()}
    assert read(test=test).test.diverged is diverged


def test_keys_that_are_not_known_are_kept() -> None:
    more = {"later": [1], "episode": {**episode(), "test": {**episode()["test"], "gap": 2}}}
    again = json.loads(read(**more).to_json())
    assert (again["later"], again["episode"]["test"]["gap"]) == ([1], 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "1-3"}, "seed is '1-3', not a whole number"),
        ({"seed": [1, 2]}, "seed is [1, 2], not a whole number"),
        ({"seed": True}, "seed is True, not a whole number"),
        ({"seconds": None}, "seconds is null, not a group of keys"),
        ({"overrides": None}, "overrides is null, not a list"),
        ({"overrides": [1]}, "overrides[0] is 1, not a text"),
        ({"algorithm": None}, "algorithm is null, not a text"),
        ({"status": "fine"}, "status is 'fine', not one of 'completed', 'failed', 'interrupted', 'pruned'"),
        ({"test": {"accuracy": "x" * 99}}, f"test.accuracy is '{'x' * 59}..., not a group of keys"),
        ({"test": {"accuracy": {"mean": "0.9", "num_episodes": 5}}}, "test.accuracy.mean is '0.9', not a number"),
        ({"episode": {}}, "episode.train is missing"),
        ({"episode": episode(way=[5])}, "episode.test.way is [5]; a range has a smallest and a largest number"),
        ({"episode": episode(way="5")}, "episode.test.way is '5', not a whole number"),
        ({"published": {"accuracy": "high"}}, "published.accuracy is 'high', not a number"),
        ({"schema": 4}, "its schema is 4, and this version of metalearn reads 3"),
    ],
)
def test_odd_values_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result(**changes)))
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the test compares the whole message
        Result.from_json(path)
    assert str(caught.value) == f"{path} cannot be read: {message}"


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"accuracy": 1}', "\ud800"])
def test_what_is_no_result_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text, errors="surrogatepass")
    with pytest.raises(ValueError, match=r"result\.json cannot be read: [^\n]+$"):
        Result.from_json(path)


def test_estimates_are_those_of_the_statistics() -> None:
    assert read().test.accuracy == Estimate(0.9, 0.1, 0.008, 100)
