"""A run from the command line to its result, on glyphs so small that it takes a second or two."""

import csv
import fcntl
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stopping
import torch
from conftest import SMALL, Command, Finished
from sweeping import wait_for

from metalearn.stats import estimate
from metalearn.sweep.forks import ForkedProcess

pytestmark = pytest.mark.slow

FIELDS = {
    "status", "error", "dataset", "algorithm", "backbone", "seed", "batch_norm", "transductive", "pretrained",
    "episode", "tasks_per_batch", "accumulate_grad_batches", "batch_size", "devices", "test", "val", "best_step",
    "steps", "num_parameters", "seconds", "peak_memory_bytes", "experiment", "overrides", "git", "versions",
    "problem", "evaluations", "published", "trained_dataset", "test_dataset", "skipped_batches", "schema",
    "shared_classes", "temperature", "seen_in_pretraining", "further", "fold", "class_split", "pretrained_on",
    "config_sha256", "train_split", "trained_with",
}  # fmt: skip
NOT_REPEATABLE = {"seconds", "peak_memory_bytes"}


@pytest.fixture(scope="module")
def finished(metalearn) -> Finished:
    return metalearn()


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in NOT_REPEATABLE}


def test_a_run_leaves_what_the_contract_says(finished: Finished) -> None:
    assert finished.code == 0, finished.text
    present = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file()}
    assert {
        ".hydra/config.yaml",
        ".hydra/overrides.yaml",
        "metalearn.log",
        "metrics.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "result.json",
        "test_episodes.npz",
    } <= present
    result = finished.result
    assert result.keys() == FIELDS
    assert (result["status"], result["error"], result["steps"]) == ("completed", None, 10)
    assert (result["dataset"], result["algorithm"], result["backbone"]) == ("glyphs", "prototypical", "conv4")
    assert result["num_parameters"] == sum(
        v.numel() for k, v in finished.checkpoint()["state_dict"].items() if "running" not in k
    )
    assert result["seconds"]["fit"] > 0


def test_the_result_is_that_of_the_saved_episodes(finished: Finished) -> None:
    episodes = np.load(finished.folder / "test_episodes.npz")
    accuracy = finished.test["accuracy"]
    assert len(episodes["accuracy"]) == accuracy["num_episodes"] == 7
    assert estimate(episodes["accuracy"])._asdict() == accuracy
    assert 0 <= episodes["accuracy"].min() <= episodes["accuracy"].max() <= 1


def test_the_best_checkpoint_is_chosen_on_meta_val(finished: Finished) -> None:
    with (finished.folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/accuracy"]]
    scores = {int(row["step"]): float(row["val/accuracy"]) for row in rows}
    assert list(scores) == [4, 8, 10]  # includes the last step
    assert finished.result["best_step"] == max(scores, key=scores.get)
    assert finished.result["val"]["accuracy"]["mean"] == pytest.approx(max(scores.values()), abs=1e-6)


def test_the_person_sees_plan_and_result(finished: Finished) -> None:
    for text in ("parameters", "tasks per step", "training episodes", "meta-test accuracy"):
        assert text in finished.text
    assert "running (inductive)" in finished.text
    assert "Traceback" not in finished.text


def test_same_command_same_result_other_seed_same_test_episodes(metalearn, fresh_metalearn, finished: Finished) -> None:
    """Compares a fork with a fresh process."""
    again, other = fresh_metalearn(), metalearn("seed=1")
    assert comparable(again.result) == comparable(finished.result)
    assert other.test["episodes_sha256"] == finished.test["episodes_sha256"]
    assert other.test["accuracy"]["mean"] != finished.test["accuracy"]["mean"]


def test_another_algorithm_sees_the_same_test_episodes(metalearn, finished: Finished) -> None:
    maml = metalearn("algorithm=maml", "tasks_per_batch=2")
    assert maml.test["episodes_sha256"] == finished.test["episodes_sha256"]
    assert maml.result["transductive"]
    assert len(maml.test["accuracy_by_step"]) == 4
    assert maml.test["accuracy_by_step"][-1] == pytest.approx(maml.test["accuracy"]["mean"])
    assert "batch (transductive)" in maml.text


def test_testing_a_checkpoint_repeats_the_numbers_of_its_run(metalearn, finished: Finished) -> None:
    tested = metalearn("mode=test", f"checkpoint={finished.folder}/checkpoints/best.ckpt", small=False)
    assert tested.code == 0, tested.text
    assert tested.test == finished.test
    assert tested.result["best_step"] == finished.result["best_step"]
    wider = metalearn(
        "mode=test", f"checkpoint={finished.folder}/checkpoints/best.ckpt", "episode.test.way=7", small=False
    )
    assert wider.result["episode"]["test"]["way"] == 7
    assert wider.test["accuracy"]["mean"] != finished.test["accuracy"]["mean"]


def test_a_checkpoint_of_another_architecture_is_refused(metalearn, finished: Finished) -> None:
    checkpoint = f"checkpoint={finished.folder}/checkpoints/best.ckpt"
    refused = metalearn("mode=test", checkpoint, "backbone.channels=4", small=False)
    assert refused.code == 2
    assert "best.ckpt holds prototypical on conv4" in refused.text
    assert refused.result["status"] == "failed"


def test_checkpoints_are_plain_containers(finished: Finished) -> None:
    for name in ("best", "last"):
        checkpoint = torch.load(finished.folder / f"checkpoints/{name}.ckpt", weights_only=True)
        assert checkpoint["metalearn"]["algorithm"] == "prototypical"


def test_a_run_in_less_time_than_a_validation_interval_still_has_a_best(metalearn) -> None:
    short = metalearn("trainer.max_steps=2")
    assert (short.code, short.result["best_step"]) == (0, 2)


def test_a_limit_in_time_ends_a_run(metalearn) -> None:
    timed = metalearn("trainer.max_steps=-1", "trainer.max_time=00:00:00:02")
    assert timed.code == 0, timed.text
    assert timed.result["steps"] == timed.checkpoint()["global_step"] > 1


def test_trainer_keys_are_lightnings(metalearn) -> None:
    finished = metalearn(
        "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1.0", "trainer.accumulate_grad_batches=2"
    )
    assert finished.code == 0, finished.text
    assert finished.checkpoint()["EpisodicDataModule"]["episodes_done"] == 20
    debug = metalearn("trainer=debug", *(o for o in SMALL if not o.startswith("trainer")), small=False)
    assert debug.code == 0, debug.text


def test_a_failure_is_written_down(metalearn) -> None:
    unlogged = "callbacks.early_stopping.monitor=train/accuracy"  # Reptile has no accuracy in training
    finished = metalearn("algorithm=reptile", "callbacks=early_stopping", unlogged, "callbacks.early_stopping.mode=max")
    assert finished.code == 1
    assert finished.result["status"] == "failed"
    assert "Error" in finished.result["error"]
    assert "Traceback" in (finished.folder / "metalearn.log").read_text()


# --- continuing --------------------------------------------------------------------------------


def weights(finished: Finished) -> dict[str, torch.Tensor]:
    return finished.checkpoint()["state_dict"]


def test_a_run_that_was_stopped_and_moved_resumes_exactly(metalearn: Command, tmp_path: Path) -> None:
    """Stops by a signal at any moment; tests/run/test_resumption.py stops at chosen ones."""
    overrides = ["augmentation=characters", "trainer.accumulate_grad_batches=2", "logger=tensorboard"]
    first, folder = tmp_path / "before", tmp_path / "run"

    def interrupt(process: ForkedProcess) -> None:
        wait_for(lambda: (first / "checkpoints/last.ckpt").is_file() or process.exit_code() is not None)
        process.send(signal.SIGINT)

    stopped_run = metalearn(*overrides, "trainer.max_steps=100000", folder=first, meanwhile=interrupt)
    assert stopped_run.code == 130, stopped_run.text
    first.rename(folder)
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["error"]) == ("interrupted", "SIGINT")
    stopped = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    total = stopped["global_step"] + 7  # no multiple of the validation interval or another period
    resumed = metalearn(f"resume={folder}", f"trainer.max_steps={total}", folder=folder, small=False)
    assert resumed.code == 0, resumed.text
    straight = metalearn(*overrides, f"trainer.max_steps={total}")
    assert resumed.result["steps"] == straight.result["steps"] == total
    assert all(torch.equal(value, weights(straight)[key]) for key, value in weights(resumed).items())
    assert resumed.result["val"] == straight.result["val"]
    assert resumed.test == straight.test
    with (folder / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert steps == list(range(1, total + 1))
    assert len(list(folder.glob("tensorboard/**/events*"))) >= 2  # both parts have written


def test_resume_auto_finds_the_unfinished_run_of_the_same_overrides(
    metalearn, environment: dict[str, str], tmp_path: Path
) -> None:
    allowed, outputs = stopping.allowing(environment), tmp_path / "outputs"
    folder = outputs / "glyphs-prototypical-conv4/first"
    command = [*SMALL, stopping.CALLBACK, f"paths.outputs={outputs}"]
    sent = {**allowed, stopping.VARIABLE: "0:SIGTERM:on_train_batch_end:6"}
    assert metalearn(*command, folder=folder, small=False, environment=sent).code == 143
    command.append("resume=auto")
    again = metalearn(*command, folder=folder, small=False, environment=allowed)
    assert again.code == 0, again.text
    assert (again.result["status"], again.result["steps"]) == ("completed", 10)
    assert len(list(outputs.glob("*/*"))) == 1
    # Neither a completed run nor a run of another definition is continued.
    assert metalearn(*command, "seed=5", small=False, environment=allowed).code == 0
    assert metalearn(*command, small=False, environment=allowed).code == 0
    assert len(list(outputs.glob("*/*"))) == 3


def test_a_run_directory_belongs_to_one_run(metalearn, finished: Finished) -> None:
    before = finished.result
    occupied = metalearn(folder=finished.folder)
    assert occupied.code == 2
    assert "already holds a run" in occupied.text
    assert finished.result == before
    with (finished.folder / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        busy = metalearn(f"resume={finished.folder}", folder=finished.folder, small=False)
    assert busy.code == 2
    assert "another run uses" in busy.text
