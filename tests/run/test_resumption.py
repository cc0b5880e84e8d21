"""A run that is stopped anywhere and resumed equals an uninterrupted run to the last bit."""

import csv
import itertools
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, Command, Finished
from stopping import CALLBACK, VARIABLE, allowing

BASE = [
    CALLBACK,
    "trainer.max_steps=9",
    "tasks_per_batch=2",
    "episode.val.num_episodes=3",
    "episode.test.num_episodes=3",
]
EPOCHS = ["trainer.limit_train_batches=5", "trainer.max_epochs=2", "trainer.max_steps=-1", "scheduler=linear"]
RUNS = {
    "prototypical": ["augmentation=characters", "scheduler=cosine"],
    "accumulation": [
        "trainer.accumulate_grad_batches=2",
        "trainer.val_check_interval=4",
        "augmentation=characters",
        "episode.train.sampling=hard",
    ],
    "epochs": EPOCHS,
    "maml": ["algorithm=maml"],
    "reptile": ["algorithm=reptile", "algorithm.inner_loop.steps=2", "algorithm.inner_loop.test_steps=2"],
    "mann": ["algorithm=mann"],
    "maml_plus_plus": ["algorithm=maml_plus_plus", "algorithm.inner_loop.steps=2", "algorithm.inner_loop.test_steps=2"],
    "learned_optimizer": ["algorithm=learned_optimizer"],
    "baseline": ["algorithm=baseline", "batch_size=16", "scheduler=plateau", "scheduler.patience=0"],
    "dropout": ["backbone=resnet12", "backbone.widths=[2,2,2,2]", "backbone.drop_rate=0.3", "backbone.block_size=1"],
}
TRAINING = ["on_train_batch_start:3", "on_after_backward:6", "on_train_batch_end:4", "on_train_batch_end:5"]
VALIDATION = ["on_validation_start:1", "on_validation_batch_end:2", "on_validation_end:2"]
END = ["on_train_end:1", "on_fit_end:1", "on_test_start:1", "on_test_batch_end:1"]
WRITING = ["write-best.ckpt:1", "write-last.ckpt:2", "write-metrics.csv:2", "write-result.json:1"]
POINTS = [*TRAINING, *VALIDATION, *END, *WRITING]
WAYS = ["SIGTERM", "SIGKILL", "error"]
EXIT = {"SIGTERM": 143, "SIGKILL": -signal.SIGKILL, "error": 1}


def covering() -> list[tuple[str, str, str]]:
    """Pairs every point with two ways to stop, and every run with training and validation."""
    runs, ways = itertools.cycle(RUNS), itertools.cycle(WAYS)
    cases = [(next(runs), next(ways), point) for point in POINTS for _ in range(2)]
    for name, stops in itertools.product(RUNS, (TRAINING, VALIDATION)):
        if not any(run == name and point in stops for run, _, point in cases):
            cases.append((name, "SIGKILL", stops[0]))
    return sorted(cases)  # a process that tests some of them has few runs without a stop to make


@pytest.fixture(scope="module")
def allowed(environment: dict[str, str]) -> dict[str, str]:
    return allowing(environment)


@pytest.fixture(scope="module")
def straight(metalearn: Command, allowed: dict[str, str]) -> Any:
    """Runs each named run uninterrupted, once."""
    made: dict[str, Finished] = {}

    def get(name: str) -> Finished:
        if name not in made:
            made[name] = metalearn(*command(name), small=False, environment=allowed)
            assert made[name].code == 0, made[name].text
        return made[name]

    return get


def command(name: str) -> list[str]:
    """Returns the overrides of a named run."""
    small = [override for override in SMALL if name != "dropout" or not override.startswith("backbone")]
    return [*small, *BASE, *RUNS[name]]


def rows(run: Finished) -> list[dict[str, str]]:
    """Reads the logged metrics of a run, except the time."""
    with (run.folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if v and k != "val/seconds"} for row in csv.DictReader(file)]


def result(run: Finished) -> dict[str, Any]:
    changing = ("seconds", "peak_memory_bytes", "overrides", "git")
    return {name: value for name, value in run.result.items() if name not in changing}


def same(left: Any, right: Any) -> bool:
    """Whether two trees of a checkpoint are equal to the last bit."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def assert_equal(resumed: Finished, straight: Finished) -> None:
    for name in ("last", "best"):
        mine, its = resumed.checkpoint(name), straight.checkpoint(name)
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "val", "EpisodicDataModule"):
            assert same(mine.get(part), its.get(part)), (name, part)
    assert rows(resumed) == rows(straight)
    assert result(resumed) == result(straight)
    assert (resumed.folder / "test_episodes.npz").read_bytes() == (straight.folder / "test_episodes.npz").read_bytes()
    assert not list(resumed.folder.rglob(".*.ckpt*")), "half a file is left"


@pytest.mark.parametrize(("name", "how", "point"), covering())
def test_a_stopped_run_resumes_exactly(
    metalearn: Command, allowed: dict[str, str], straight: Any, tmp_path: Path, name: str, how: str, point: str
) -> None:
    whole, folder = straight(name), tmp_path / "run"
    stopped = metalearn(
        *command(name), folder=folder, small=False, environment={**allowed, VARIABLE: f"0:{how}:{point}"}
    )
    if (how, point) == ("SIGTERM", "write-result.json:1"):
        assert stopped.code == 0, "a signal that comes while the result is written does not undo the run"
        resumed = stopped
    else:
        assert stopped.code == EXIT[how], stopped.text
        written = json.loads((folder / "result.json").read_text()) if (folder / "result.json").exists() else {}
        expected = None if "write-result" in point else {"SIGTERM": "interrupted", "error": "failed"}.get(how)
        assert written.get("status") == expected
        resumed = metalearn(f"resume={folder}", folder=folder, small=False, environment=allowed)
    assert resumed.code == 0, resumed.text
    assert_equal(resumed, whole)


def test_a_run_with_dropout_drops_something(metalearn: Command, allowed: dict[str, str], straight: Any) -> None:
    without = metalearn(*command("dropout"), "backbone.drop_rate=0.0", small=False, environment=allowed)
    assert not same(without.checkpoint()["state_dict"], straight("dropout").checkpoint()["state_dict"])


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGXCPU"])
def test_warnings_of_batch_systems_stop_a_run_in_order(metalearn: Command, allowed: dict[str, str], name: str) -> None:
    stopped = metalearn(*BASE, environment={**allowed, VARIABLE: f"0:{name}:on_train_batch_end:2"})
    assert stopped.code == 128 + signal.Signals[name]
    assert (stopped.result["status"], stopped.result["error"]) == ("interrupted", name)
    assert stopped.checkpoint()["global_step"] == 2


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_run_that_is_stopped_three_times_resumes_exactly(
    metalearn: Command, allowed: dict[str, str], straight: Any, tmp_path: Path, how: str
) -> None:
    """Stops three times, first before the first checkpoint."""
    folder = tmp_path / "run"
    typed = command("prototypical")
    for point in ("on_train_batch_end:2", "on_validation_end:1", "on_test_batch_end:1"):
        run = metalearn(*typed, folder=folder, small=False, environment={**allowed, VARIABLE: f"0:{how}:{point}"})
        assert run.code == EXIT[how], run.text
        typed = [f"resume={folder}"]
    assert_equal(metalearn(*typed, folder=folder, small=False, environment=allowed), straight("prototypical"))


@pytest.fixture(scope="module")
def two(metalearn: Command, allowed: dict[str, str]) -> Finished:
    """Runs two processes without a stop."""
    return metalearn(*BASE, "trainer=ddp_cpu", environment=allowed)


@pytest.mark.parametrize(
    ("how", "rank", "point"),
    [
        ("SIGTERM", 1, "on_train_batch_end:4"),
        ("error", 1, "on_validation_batch_end:2"),
        ("SIGKILL", 0, "on_validation_end:1"),
    ],
)
def test_two_processes_of_which_one_is_stopped_resume_exactly(
    metalearn: Command, allowed: dict[str, str], two: Finished, tmp_path: Path, how: str, rank: int, point: str
) -> None:
    stopped = metalearn(
        *BASE, "trainer=ddp_cpu", folder=tmp_path / "run", environment={**allowed, VARIABLE: f"{rank}:{how}:{point}"}
    )
    assert stopped.code != 0
    resumed = metalearn(f"resume={tmp_path / 'run'}", folder=tmp_path / "run", small=False, environment=allowed)
    assert resumed.code == 0, resumed.text
    assert_equal(resumed, two)
