"""Sweeps of real runs: each job is a separate run, and repeating the command finishes the sweep."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, Finished
from sweeping import wait_for

from metalearn.sweep.forks import ForkedProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(metalearn, tmp_path: Path) -> Callable[..., Finished]:
    """Runs `-m` in tmp_path/sweep to its end, two jobs at a time, which are forked."""

    def call(*overrides: str, **meanwhile: Any) -> Finished:
        own = (f"hydra.sweep.dir={tmp_path}/sweep", "hydra.launcher.slots=2", "hydra.launcher.preload=true")
        return metalearn("-m", *SMALL, *own, *overrides, folder=tmp_path / "sweep", small=False, **meanwhile)

    return call


def job(finished: Finished, number: int) -> Finished:
    return Finished(0, "", finished.folder / str(number))


def test_finished_jobs_are_skipped_and_failed_ones_tried_again(sweep) -> None:
    first = sweep("trainer.max_steps=2", "seed=0,-1")
    assert first.code == 1
    assert "job 1 failed" in first.text
    assert "Error executing job" not in first.text
    assert f"{first.folder}/1/stdout.log" in first.text
    assert "seed is -1; it must be from 0 to 4294967295" in (first.folder / "1/stdout.log").read_text()
    before = (first.folder / "0/result.json").stat().st_mtime_ns
    assert job(first, 0).result["status"] == "completed"
    assert "1 completed" in (first.folder / "report.html").read_text()
    again = sweep("trainer.max_steps=2", "seed=0,-1")
    assert again.code == 1
    assert "completed before" in again.text
    assert f"report: {again.folder}/report.html" in again.text
    assert (first.folder / "0/result.json").stat().st_mtime_ns == before
    assert (first.folder / "0/stdout.log").read_text().count("$ ") == 1
    assert (first.folder / "1/stdout.log").read_text().count("$ ") == 2
    other = sweep("trainer.max_steps=3", "seed=0,-1")
    assert other.code == 2
    assert "its job 0 has trainer.max_steps=2 where this command has trainer.max_steps=3" in other.text
    assert other.text.count("\n") == 1


def test_ranks_of_a_sweep_agree(metalearn, sweep) -> None:
    """Compares a job of two processes with one process that has the joint batch."""
    exact = ("trainer.precision=64-true", "optimizer=sgd", "trainer.max_steps=3", "seed=1")
    both = sweep(*exact, "trainer=ddp_cpu")
    assert both.code == 0, both.text
    assert {path.name for path in both.folder.iterdir() if path.is_dir()} == {"0"}
    assert job(both, 0).result["devices"] == 2
    joint, half = (metalearn(*exact, "trainer=cpu", f"tasks_per_batch={tasks}") for tasks in (2, 1))
    weights, joint_weights, half_weights = (run.checkpoint()["state_dict"] for run in (job(both, 0), joint, half))
    for name, value in joint_weights.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-9, atol=1e-12)
    assert any(not torch.equal(value, half_weights[name]) for name, value in weights.items())


def test_a_sweep_that_is_stopped_and_killed_ends_as_one_that_is_not(
    metalearn, sweep, environment: dict[str, str], tmp_path: Path
) -> None:
    """Alternates between forks and a fresh process."""
    steps = ("trainer.max_steps=200", "trainer.val_check_interval=20")
    folder = tmp_path / "sweep"
    last = folder / "0/checkpoints/last.ckpt"

    def stop(controller: ForkedProcess) -> None:
        wait_for(last.exists)
        controller.send(signal.SIGTERM)

    stopped = sweep(*steps, "seed=1,-1", "hydra.launcher.slots=1", meanwhile=stop)
    assert stopped.code == 143, stopped.text
    assert job(stopped, 0).result["status"] == "interrupted"
    assert not (folder / "1").exists()
    # All processes are killed at once, as in a crash of the machine.
    before = last.stat().st_mtime_ns
    command = [sys.executable, "-m", "metalearn", "-m", *SMALL, *steps, "seed=1,-1", f"hydra.sweep.dir={folder}"]
    quiet: dict[str, Any] = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with subprocess.Popen([*command, "hydra.launcher.slots=1"], **quiet) as controller:
        wait_for(lambda: last.stat().st_mtime_ns != before, controller)
        controller.kill()
    for pid in processes_of(folder):
        os.kill(pid, signal.SIGKILL)
    assert not (folder / "0/result.json").exists()
    finished = sweep(*steps, "seed=1,-1")
    assert finished.code == 1, finished.text
    assert "job 1 failed" in finished.text
    straight = metalearn(*steps, "seed=1")
    assert job(finished, 0).test == straight.test
    assert job(finished, 0).result["val"] == straight.result["val"]


def processes_of(folder: Path) -> list[int]:
    """Lists the runs at work below a folder."""

    def command(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError:  # the process has just ended
            return b""

    lines = Path("/proc").glob("[0-9]*/cmdline")
    return [int(path.parent.name) for path in lines if f"{folder}/".encode() in command(path)]
