"""Runs averaged over seeds, and kept apart when their protocols differ."""

import copy
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metalearn.report.runs import find, summarise
from metalearn.stats import estimate

RESULT = {
    "status": "completed",
    "dataset": "glyphs",
    "algorithm": "prototypical",
    "backbone": "conv4",
    "batch_norm": "running",
    "seed": 0,
    "episode": {
        "train": {"way": 20, "shot": 1, "query": 5},
        "val": {"way": 5, "shot": 1, "query": 15, "num_episodes": 200},
        "test": {"way": 5, "shot": 1, "query": 15, "num_episodes": 600},
    },
    "tasks_per_batch": 1,
    "devices": 1,
    "test": {"accuracy": {"mean": 0.9, "std": 0.1, "ci95": 0.008, "num_episodes": 600}},
    "steps": 600,
    "overrides": ["seed=0", "logger=csv"],
    "num_parameters": 111_936,
    "seconds": {"fit": 60.0, "test": 8.0},
    "peak_memory_bytes": 10**9,
}


def result(mean: float | None = 0.9, **changes: Any) -> dict[str, Any]:
    one = copy.deepcopy({**RESULT, **changes})
    one["test"] = None if mean is None else {"accuracy": {**RESULT["test"]["accuracy"], "mean": mean}}
    return one


def test_seeds_are_averaged_with_the_interval_over_seeds() -> None:
    means = [0.90, 0.92, 0.93]
    (row,) = summarise(result(mean, seed=seed) for seed, mean in enumerate(means))
    assert row.mean == pytest.approx(sum(means) / 3)
    assert row.ci95 == pytest.approx(estimate(means).ci95)


def test_one_run_has_the_interval_over_its_episodes() -> None:
    (row,) = summarise([result()])
    assert (row.mean, row.ci95) == (0.9, 0.008)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_norm": "batch"},
        {"backbone": "mlp"},
        {"tasks_per_batch": 4},
        {"overrides": ["optimizer.lr=0.1"]},
        {"episode": {**RESULT["episode"], "train": {"way": 60, "shot": 1, "query": 5}}},
        {"episode": {**RESULT["episode"], "test": {"way": 5, "shot": 1, "query": 1, "num_episodes": 600}}},
    ],
)
def test_different_protocols_are_not_averaged(change: dict[str, Any]) -> None:
    assert len(summarise([result(), result(**change)])) == 2


def test_a_failed_run_is_shown_and_not_averaged() -> None:
    (row,) = summarise([result(0.9), result(None, status="failed", seed=1)])
    assert (row.mean, row.statuses) == (0.9, ["failed"])
    (row,) = summarise([result(None, status="failed")])
    assert math.isnan(row.mean)


def test_a_refused_run_does_not_stop_the_report() -> None:
    (row,) = summarise([result(None, status="failed", devices=None, num_parameters=None)])
    assert row.statuses == ["failed"]
    assert summarise([result(None, status="failed", episode={})]) == []


def test_the_same_seed_counts_once() -> None:
    (row,) = summarise([result(0.8), result(0.9, overrides=["seed=0", "mode=test", "checkpoint=best.ckpt"])])
    assert (row.accuracies, row.ci95) == ([0.9], 0.008)


def test_the_command(tmp_path: Path) -> None:
    for job, one in enumerate([result(0.9), result(0.8, algorithm="maml", batch_norm="batch")]):
        (tmp_path / str(job)).mkdir()
        (tmp_path / str(job) / "result.json").write_text(json.dumps(one))
    command = [sys.executable, "-m", "metalearn.report"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    (proto,) = (i for i, line in enumerate(lines) if "prototypical" in line)
    (maml,) = (i for i, line in enumerate(lines) if "maml" in line)
    assert "90.00 ± 0.80" in lines[proto]
    assert "(transductive)" in lines[maml]
    empty = subprocess.run([*command, str(tmp_path / "nowhere")], capture_output=True, text=True, check=False)
    assert empty.returncode == 1
    assert "there is no result.json below" in empty.stderr


def test_what_a_run_writes_can_be_read(metalearn) -> None:
    finished = metalearn()
    (row,) = summarise(find([finished.folder]))
    assert row.mean == finished.test["accuracy"]["mean"]
