"""A run that is stopped anywhere and resumed equals an uninterrupted run to the last bit."""

import csv
import itertools
import math
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from conftest import SMALL, Command, Finished
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.demos.boring_classes import BoringModel
from origins import keeper
from stopping import CALLBACK, VARIABLE, allowing

from metalearn.run.directory.folder import RunFolder
from metalearn.run.process.signals import WATCHED
from metalearn.training.callbacks import ValidateAtEnd

BASE = [
    CALLBACK,
    "trainer.max_steps=9",
    "tasks_per_batch=2",
    "episode.val.num_episodes=3",
    "episode.test.num_episodes=3",
]
EPOCHS = ["trainer.limit_train_batches=5", "trainer.max_epochs=2", "trainer.max_steps=-1", "scheduler=linear"]
TWO_STEPS = ["algorithm.inner_loop.steps=2", "algorithm.inner_loop.test_steps=2"]
RUNS = {
    "prototypical": ["augmentation=characters", "scheduler=cosine"],
    "accumulation": [
        "trainer.accumulate_grad_batches=2",
        "trainer.val_check_interval=4",
        "augmentation=characters",
        "episode.train.sampling=hard",
    ],
    "epochs": [*EPOCHS, "trainer.precision=64-true"],
    "reptile": ["algorithm=reptile", *TWO_STEPS],
    "maml_plus_plus": ["algorithm=maml_plus_plus", *TWO_STEPS],
    "learned_optimizer": ["algorithm=learned_optimizer", *TWO_STEPS],
    "baseline": [
        "algorithm=baseline",
        "batch_size=16",
        "augmentation=characters",
        "scheduler=plateau",
        "scheduler.patience=0",
    ],
    "dropout": ["backbone=resnet12", "backbone.widths=[2,2,2,2]", "backbone.drop_rate=0.3", "backbone.block_size=1"],
}
FIRST = [
    "on_train_batch_end:4",
    "on_train_batch_start:3",  # killed before the first checkpoint
    "on_after_backward:6",
    "on_train_batch_end:5",
    "write-best.ckpt:1",
]
THEN = [
    "on_validation_end:2",
    "write-last.ckpt:2",
    "on_validation_start:1",
    "write-metrics.csv:2",
    "on_validation_batch_end:2",
]
LAST = ["on_train_end:1", "on_fit_end:1", "on_test_start:1", "on_test_batch_end:1", "write-result.json:1"]
IGNORED = [watched for watched in WATCHED if signal.getsignal(watched) is signal.SIG_IGN]  # SIGHUP under nohup
SIGNALS = [watched.name for watched in WATCHED if watched not in (signal.SIGINT, *IGNORED)]
KILL_AND_ERROR = {"SIGKILL": -signal.SIGKILL, "error": 1}


def chains() -> dict[str, list[tuple[str, str]]]:
    """Lists three stops of each run: one by a signal, one by SIGKILL, and one by an error.

    The runs share fifteen points, so that most points meet two ways to stop.
    """
    watched, stops = itertools.cycle(SIGNALS), {}
    for number, name in enumerate(RUNS):
        ways = [next(watched), *KILL_AND_ERROR]
        points = [group[number % len(group)] for group in (FIRST, THEN, LAST)]
        stops[name] = [(ways[(number + place) % 3], point) for place, point in enumerate(points)]
    return stops


@pytest.fixture(scope="module")
def allowed(environment: dict[str, str]) -> dict[str, str]:
    return allowing(environment)


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


def stop(run: Command, typed: list[str], folder: Path, environment: dict[str, str], how: str, point: str) -> None:
    """Runs to the point, and looks at the exit code and the result."""
    stopped = run(*typed, folder=folder, small=False, environment={**environment, VARIABLE: f"0:{how}:{point}"})
    writing, is_signal = point.startswith("write-result"), how in SIGNALS
    if writing and is_signal:
        assert stopped.code == 0, "a signal that comes while the result is written does not undo the run"
        return
    assert stopped.code == (128 + signal.Signals[how] if is_signal else KILL_AND_ERROR[how]), stopped.text
    assert "Traceback" not in stopped.text, "a full disk is no fault of the program"
    if writing or how == "SIGKILL":
        assert not (folder / "result.json").exists()
    else:
        assert stopped.result["status"] == ("interrupted" if is_signal else "failed")
        assert stopped.result["error"] == how or not is_signal


@pytest.mark.parametrize(("name", "stops"), chains().items())
def test_a_run_that_is_stopped_three_times_resumes_exactly(
    metalearn: Command, allowed: dict[str, str], tmp_path: Path, name: str, stops: list[tuple[str, str]]
) -> None:
    straight, folder = metalearn(*command(name), small=False, environment=allowed), tmp_path / "run"
    assert straight.code == 0, straight.text
    typed = command(name)
    for how, point in stops:
        stop(metalearn, typed, folder, allowed, how, point)
        typed = [f"resume={folder}"]
    resumed = metalearn(*typed, folder=folder, small=False, environment=allowed)
    assert resumed.code == 0, resumed.text
    assert_equal(resumed, straight)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_sparse_logs_of_a_run_stopped_in_a_validation_have_the_same_steps(
    metalearn: Command, allowed: dict[str, str], tmp_path: Path, accumulated: int
) -> None:
    sparse = ["trainer.log_every_n_steps=3", f"trainer.accumulate_grad_batches={accumulated}"]
    typed = [*command("prototypical"), "trainer.max_steps=11", *sparse]
    straight, folder = metalearn(*typed, small=False, environment=allowed), tmp_path / "run"
    stop(metalearn, typed, folder, allowed, "SIGTERM", "on_validation_start:2")
    # A second signal comes before the first batch after the resumption.
    stop(metalearn, [f"resume={folder}"], folder, allowed, "SIGTERM", "on_train_start:1")
    resumed = metalearn(f"resume={folder}", folder=folder, small=False, environment=allowed)
    assert resumed.code == 0, resumed.text
    assert rows(resumed) == rows(straight)


def test_a_resumption_keeps_its_overrides_and_a_better_checkpoint_than_the_last_one_knows(
    metalearn: Command, allowed: dict[str, str], tmp_path: Path
) -> None:
    """Stops before the first step a run whose best.ckpt is newer than last.ckpt."""
    folder, typed = tmp_path / "run", [*command("prototypical"), "trainer.max_steps=4"]
    run = metalearn(*typed, folder=folder, small=False, environment=allowed)
    best = run.checkpoint("best") | {"global_step": 5}
    best["callbacks"]["Keeper"] |= {"best_step": 5, "best_score": 1.0}
    torch.save(best, RunFolder(folder).best)
    longer = [f"resume={folder}", "trainer.max_steps=6"]
    stop(metalearn, longer, folder, allowed, "SIGTERM", "on_train_batch_start:1")
    resumed = metalearn(f"resume={folder}", folder=folder, small=False, environment=allowed)
    assert (resumed.code, resumed.result["steps"], resumed.result["best_step"]) == (0, 6, 5), resumed.text


class Scored(BoringModel):
    """Network with the scores that the keeper reads."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict({"val/accuracy": 0.5, "val/loss": 1.0})


def stop_in_the_fourth_batch(trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
    if batch_idx == 3:
        trainer.should_stop = True


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        ({"max_time": timedelta(microseconds=1)}, 3),
        ({"callbacks": [LambdaCallback(on_train_batch_end=stop_in_the_fourth_batch)]}, 6),
        ({"callbacks": [ValidateAtEnd()], "limit_train_batches": 4, "max_epochs": 1}, 4),
    ],
)
def test_a_stop_within_a_step_waits_for_its_end(tmp_path: Path, limits: dict[str, Any], batches: int) -> None:
    """Trains with steps of three batches, whose gradients no checkpoint holds."""
    folder = RunFolder(tmp_path)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    usual: dict[str, Any] = {"max_epochs": -1, "accumulate_grad_batches": 3, "check_val_every_n_epoch": None}
    callbacks = [*limits.get("callbacks", []), keeper(tmp_path)]
    usual |= {"accelerator": "cpu", "val_check_interval": 60, **quiet, **limits, "callbacks": callbacks}
    pl.Trainer(**usual).fit(Scored())
    last = torch.load(folder.last, weights_only=True)
    done = last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"]
    assert (done, last["global_step"]) == (batches, math.ceil(batches / 3))


def test_a_signal_during_the_imports_ends_a_training_and_a_test(metalearn: Command, allowed: dict[str, str]) -> None:
    trained = metalearn("trainer.max_steps=1")
    signalled = {**allowed, VARIABLE: "0:SIGTERM:imports:1"}
    for words in ([], ["mode=test", f"checkpoint={trained.folder}"]):
        stopped = metalearn(*words, CALLBACK, environment=signalled)
        assert (stopped.code, stopped.result["status"], stopped.test) == (143, "interrupted", None), stopped.text


def test_two_processes_of_which_one_is_stopped_resume_exactly(
    metalearn: Command, allowed: dict[str, str], tmp_path: Path
) -> None:
    straight, folder = metalearn(*BASE, "trainer=ddp_cpu", environment=allowed), tmp_path / "run"
    typed = [*SMALL, *BASE, "trainer=ddp_cpu"]
    for stops in (
        "1:SIGTERM:on_train_batch_end:4",
        "1:error:on_validation_batch_end:2",
        "0:SIGKILL:on_validation_end:1",
    ):
        stopped = metalearn(*typed, folder=folder, small=False, environment={**allowed, VARIABLE: stops})
        assert stopped.code != 0
        typed = [f"resume={folder}"]
    resumed = metalearn(*typed, folder=folder, small=False, environment=allowed)
    assert resumed.code == 0, resumed.text
    assert_equal(resumed, straight)
