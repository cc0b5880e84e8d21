"""Searches by Optuna: draws of the samplers, and endings of trials, with shell commands as runs."""

import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState
from searching import COMPLETED, Controller, impatient  # noqa: F401

from metalearn.search import search
from metalearn.search.source import FAILURES_IN_A_ROW


@pytest.mark.parametrize(
    ("params", "sampler", "message"),
    [
        ("0.5", "tpe", "the search has nothing to vary"),
        ("tag(log, interval(0, 1))", "tpe", "is not a search space"),
        ("range(3, 3)", "tpe", "the range is empty"),
        ("interval(0, 1)", "grid", "a grid cannot hold all of x"),
        ("interval(0, 1)", "best", "hydra.sweeper.sampler=best must be"),
    ],
)
def test_a_wrong_search_is_refused(tmp_path: Path, params: str, sampler: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Controller(tmp_path, params=params, sampler=sampler)
    assert "\n" not in str(raised.value)


def test_another_search_under_the_same_name_is_refused(tmp_path: Path) -> None:
    Controller(tmp_path)
    Controller(tmp_path, n_trials=9, sampler="tpe")
    with pytest.raises(ValueError, match="is of another search: for x it has Float.*high=1.*this command .*high=2"):
        Controller(tmp_path, params="interval(0, 2)")


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_a_search_that_goes_on_draws_what_one_that_does_not_stop_draws(tmp_path: Path, sampler: str) -> None:
    options: dict[str, Any] = {"sampler": sampler, "slots": 1}
    whole = Controller(tmp_path / "whole", n_trials=14, **options)
    whole.run()
    for n_trials in (3, 14, 14):
        parts = Controller(tmp_path / "parts", n_trials=n_trials, **options)
        parts.run()
    assert parts.values() == whole.values()
    assert len(set(whole.values())) == 14
    assert len(parts.jobs) == 0


def test_tpe_finds_the_best_x(tmp_path: Path) -> None:
    controller = Controller(tmp_path, sampler="tpe", n_trials=25)
    controller.run()
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best["parameters"]["x"] == pytest.approx(0.3, abs=0.1)
    assert best["val_accuracy"] == pytest.approx(1, abs=0.01)
    assert best["overrides"] == ["y=1", f"x={best['parameters']['x']}"]
    assert best["command"] == f"python -m metalearn y=1 x={best['parameters']['x']}"
    assert (tmp_path / best["directory"] / "result.json").is_file()


def test_failed_and_pruned_trials(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pruned = """echo '{"status": "pruned", "seconds": {}}' > result.json"""
    script = f"case $PWD in *0001) {pruned};; *0002) echo no luck; exit 1;; *) {COMPLETED};; esac"
    controller = Controller(tmp_path, script=script, n_trials=4, slots=1)
    assert controller.run() is None
    assert controller.states() == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE", "COMPLETE"]
    assert controller.trials.is_over
    printed = capfd.readouterr().out
    assert "4 of 4 trials: 3 completed, 1 pruned, 1 failed" in printed
    assert f"(exit code 1): {tmp_path}/0002/stdout.log" in printed
    assert f"trial 0002 failed: {tmp_path}/0002/stdout.log" in printed


def test_a_damaged_result_of_a_failed_trial_hides_no_finding(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = f"case $PWD in *0000) echo '{{' > result.json; exit 1;; *) {COMPLETED};; esac"
    assert Controller(tmp_path, script=script, n_trials=1, slots=1).run() is None
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["trial"] == 1
    printed = capfd.readouterr().out
    assert f"trial 0000 failed ({tmp_path}/0000/result.json cannot be read: Expecting" in printed
    assert f"): {tmp_path}/0000/stdout.log" in printed


def test_a_directory_with_square_brackets_is_named_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "[b]" / "[" / "a]"
    controller = Controller(folder, n_trials=1)
    monkeypatch.setattr(search, "_trials", lambda *_: controller.trials)
    monkeypatch.setattr(search, "report", lambda *_: f"report: {folder}")
    run = {"prepare": lambda: (folder, controller.slots), "run": lambda *_: controller.run()}
    launcher: Any = SimpleNamespace(needed=list, is_group=lambda _: False, **run)
    search.search(None, launcher, [])  # type: ignore[arg-type]
    printed = capfd.readouterr().out
    assert f"1 trial, 2 at a time: {folder}\n" in printed
    assert f"report: {folder}\n" in printed


def test_a_search_of_failures_alone_ends(tmp_path: Path) -> None:
    controller = Controller(tmp_path, script="exit 1", n_trials=20, slots=1)
    controller.run()
    assert controller.states() == ["FAIL"] * FAILURES_IN_A_ROW
    assert not controller.trials.is_over


def test_a_signal_hands_over_what_runs(tmp_path: Path) -> None:
    """Continues an interrupted trial in its directory, with its parameters; loses no result."""
    script = f"if [ -e saved ]; then {COMPLETED}; else touch saved; while true; do sleep 0.05; done; fi"
    controller = Controller(tmp_path, script=script, n_trials=3)
    waits = (
        f"cd {tmp_path}; while [ ! -e 0000/saved ] || [ ! -e 0001/saved ]; do sleep 0.05; done; kill -15 {os.getpid()}"
    )
    with subprocess.Popen(["sh", "-c", waits]):
        assert controller.run() == signal.SIGTERM
    assert controller.states() == ["FAIL", "FAIL", "WAITING", "WAITING"]
    first = controller.values(TrialState.FAIL)
    again = Controller(tmp_path, script=COMPLETED, n_trials=3)
    again.run()
    assert sorted(again.values()[:2]) == sorted(first)
    assert {path.name for path in tmp_path.glob("[0-9]*")} == {"0000", "0001", "0004"}
    assert not again.trials.failed()


def test_a_directory_with_another_run_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "0000").mkdir()
    (tmp_path / "0000/result.json").write_text('{"status": "completed"}')
    with pytest.raises(ValueError, match="0000 holds a run of another search"):
        Controller(tmp_path).run()
    assert (tmp_path / "0000/result.json").read_text() == '{"status": "completed"}'


@pytest.mark.parametrize("mean", ["null", "1e999"])
def test_a_score_that_is_not_finite_is_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str], mean: str) -> None:
    accuracy = f'{{"mean": {mean}, "std": 0, "ci95": 0, "num_episodes": 1}}'
    result = f'{{"status": "completed", "val": {{"accuracy": {accuracy}}}}}'
    controller = Controller(tmp_path, script=f"echo '{result}' > result.json", n_trials=9, slots=1)
    controller.run()
    assert controller.states() == ["FAIL"] * FAILURES_IN_A_ROW
    printed = capfd.readouterr().out
    assert printed.count(f"(its score at meta-val is not finite): {tmp_path}/000") == FAILURES_IN_A_ROW
    assert "0 completed, 0 pruned, 5 failed" in printed


def test_a_trial_that_failed_is_started_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    once = f"[ -e begun ] || {{ touch begun; exit 1; }}; {COMPLETED}"
    controller = Controller(tmp_path, script=once, n_trials=2, slots=1, retries=1)
    assert controller.run() is None
    assert controller.states() == ["COMPLETE"] * 2
    assert [job.attempts for job in controller.jobs] == [2, 2]
    assert capfd.readouterr().out.count(", once again") == 2
