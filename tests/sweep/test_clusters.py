"""Sweeps by submitit and by Ray, on submitit's local executor with real signals."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from conftest import REPOSITORY, SMALL, Finished, composed
from hydra.core.hydra_config import HydraConfig
from sweeping import PATIENCE, wait_for

from metalearn.sweep import definition
from metalearn.sweep.cancel import cancel
from metalearn.sweep.forks import ForkedProcess
from metalearn.sweep.jobs import Job
from metalearn.sweep.launcher import submit
from metalearn.sweep.slots import Slots
from metalearn.sweep.standing import read

pytestmark = pytest.mark.slow

Sweep = Callable[..., Finished]
ENDLESS = "trainer.max_steps=1000000,1000001"
LONG = ["trainer.max_steps=200", "trainer.val_check_interval=20"]  # time to stop it after the first checkpoint
LOCAL = ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.cpus_per_task=1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def sweep(metalearn, environment: dict[str, str], tmp_path: Path, home: Path) -> Sweep:
    """Runs `-m` on the CPU in tmp_path/sweep to its end; `meanwhile` gets its process."""

    def call(*overrides: str, **meanwhile: Any) -> Finished:
        folder = tmp_path / "sweep"
        env = {**environment, "HOME": str(home)}  # Ray writes a token to HOME
        own = ("trainer=cpu", *overrides, f"hydra.sweep.dir={folder}")
        return metalearn("-m", *SMALL, *own, folder=folder, small=False, environment=env, **meanwhile)

    return call


@pytest.fixture(scope="module")
def straight(metalearn) -> Finished:
    """Runs the job of the sweeps that are stopped, at one go."""
    return metalearn(*LONG, "trainer=cpu", "seed=1")


def job(finished: Finished, number: int) -> Finished:
    return Finished(0, "", finished.folder / str(number))


def processes(name: str) -> dict[int, str]:
    """Reads a file of /proc, such as cmdline, for each readable process."""

    def read(path: Path) -> str:
        try:
            return path.read_text(errors="replace")
        except OSError:  # the process has just ended, or belongs to another user
            return ""

    return {int(path.parent.name): read(path) for path in Path("/proc").glob(f"[0-9]*/{name}")}


def tasks(folder: Path) -> list[int]:
    """Lists the processes of submitit that run jobs of a sweep."""
    return [pid for pid, line in processes("cmdline").items() if f"submitit.core._submit\0{folder}" in line]


# --- any cluster -------------------------------------------------------------------------------


@pytest.fixture
def stop(tmp_path: Path) -> Callable[[ForkedProcess], None]:
    """Sends SIGTERM to the controller when its first job has a checkpoint."""

    def call(controller: ForkedProcess) -> None:
        wait_for((tmp_path / "sweep/0/checkpoints/last.ckpt").exists)
        assert controller._process.pid is not None
        os.kill(controller._process.pid, signal.SIGTERM)  # it alone: its group may hold more of a cluster

    return call


def test_options_of_sbatch_are_added_by_their_names() -> None:
    (documented,) = re.findall(r"`(\+hydra\.launcher\S+)`", (REPOSITORY / "docs/clusters.md").read_text())
    composed("hydra/launcher=slurm", documented)
    assert HydraConfig.get().launcher.additional_parameters == {"constraint": "a100"}


# --- submitit ----------------------------------------------------------------------------------


def test_a_job_that_is_stopped_and_preempted_goes_on_in_its_directory_to_the_same_numbers(
    straight: Finished, sweep: Sweep, stop: Callable, tmp_path: Path
) -> None:
    """Stops the controller of the first command; preempts by SLURM's signal before a time limit."""
    pytest.importorskip("submitit")
    command = [*LOCAL, *LONG, "hydra.launcher.slots=1", "seed=1"]
    stopped = sweep(*command, meanwhile=stop)
    assert stopped.code == 143, stopped.text
    assert job(stopped, 0).result["status"] == "interrupted"
    last, log = stopped.folder / "0/checkpoints/last.ckpt", stopped.folder / "0/stdout.log"
    before = last.stat().st_mtime_ns

    def preempt(controller: ForkedProcess) -> None:
        wait_for(lambda: last.stat().st_mtime_ns != before)
        (task,) = tasks(tmp_path / "sweep")
        os.kill(task, signal.SIGUSR2)
        wait_for(lambda: log.read_text().count("$ ") == 3)

    finished = sweep(*command, meanwhile=preempt)
    assert finished.code == 0, finished.text
    _, *resumed = re.findall(r"^\$ .+", log.read_text(), re.MULTILINE)
    assert ["resume=" in typed for typed in resumed] == [True, True]
    assert job(finished, 0).test == straight.test
    assert [job(finished, 0).result[name] for name in ("steps", "best_step", "val")] == [
        straight.result[name] for name in ("steps", "best_step", "val")
    ]
    assert {path.name for path in finished.folder.iterdir() if path.is_dir()} == {"0", ".submitit"}
    again = sweep(*command)
    assert again.code == 0, again.text
    assert "completed before" in again.text
    assert log.read_text().count("$ ") == 3


def test_a_job_that_meets_its_time_limit_too_often_has_failed(sweep: Sweep) -> None:
    pytest.importorskip("submitit")
    limit = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=48", "hydra.launcher.max_requeues=0"]
    finished = sweep(*LOCAL, *limit, "trainer.max_steps=1000000", "seed=0")
    assert finished.code == 1, finished.text
    assert "timed-out too many times" in finished.text


# --- Ray ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str], home: Path) -> Iterator[str]:
    """Returns the address of a cluster of two CPUs, started by `ray start`."""
    pytest.importorskip("ray")
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as short:
        ray = Path(sys.executable).with_name("ray")
        start = [ray, "start", "--head", "--port=0", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={short}"]
        env = {**environment, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
        done = subprocess.run(start, env=env, check=True, capture_output=True, text=True, timeout=PATIENCE)
        try:
            yield re.findall(r"--address='(.+?)'", done.stdout)[0]
        finally:
            for pid, variables in processes("environ").items():
                if f"HOME={home}\0" in variables:
                    os.kill(pid, signal.SIGKILL)  # the server takes minutes to end on request


def test_a_sweep_that_is_stopped_in_a_ray_of_its_own_goes_on_in_a_cluster(
    straight: Finished, sweep: Sweep, stop: Callable, cluster: str
) -> None:
    stopped = sweep("hydra/launcher=ray", "hydra.launcher.slots=1", *LONG, "seed=1,-1", meanwhile=stop)
    assert stopped.code == 143, stopped.text
    assert job(stopped, 0).result["status"] == "interrupted"
    assert not (stopped.folder / "1").exists()
    join = [f"hydra.launcher.address={cluster}", "hydra.launcher.num_cpus=0.5"]
    refused = sweep("hydra/launcher=ray", *join, "hydra.launcher.num_gpus=0.25", *LONG, "seed=1,-1")
    assert refused.code == 2
    assert "no room for a job of 0.5 CPUs and 0.25 GPUs" in refused.text
    finished = sweep("hydra/launcher=ray", *join, *LONG, "seed=1,-1")
    assert finished.code == 1, finished.text
    assert "2 jobs, 4 at a time" in finished.text
    assert "job 1 failed" in finished.text
    assert job(finished, 0).test == straight.test


def test_a_sweep_that_is_left_to_ray_is_cancelled(
    cluster: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaves two jobs without an end; each needs both CPUs, so the second waits."""
    ray = pytest.importorskip("ray")
    from metalearn.sweep.ray.launcher import RayLauncher
    from metalearn.sweep.ray.process import Request

    def request(_: RayLauncher, slots: Slots, job: Job, places: list[str]) -> Request:
        return Request(["sleep", "1000"], job.log, {}, tmp_path, share={"num_cpus": 2, "num_gpus": 0})

    def states() -> list[str]:
        return [standing.state for standing in read(tmp_path)]

    monkeypatch.setenv("HOME", str(home))  # the token of the cluster
    monkeypatch.setattr(RayLauncher, "_request", request)
    monkeypatch.setattr(RayLauncher, "processes", lambda *_: 1)
    launcher = RayLauncher(cluster, slots=2, wait=False, num_cpus=2, num_gpus=0, timeout=None, retries=0)
    jobs = [Job(i, [f"seed={i}"], tmp_path / str(i)) for i in range(2)]
    definition.record(tmp_path, jobs, [])
    try:
        leave = partial(launcher._leave, launcher.make_slots(tmp_path))
        assert submit(jobs, leave) == "2 jobs submitted"
        ray.shutdown()  # as the end of its command
        assert submit(jobs, leave) == "0 jobs submitted, 2 at work before"
        assert states() == ["queued", "queued"]
        wait_for(jobs[0].log.exists)
        assert cancel(tmp_path) == []
        wait_for(lambda: states() == ["interrupted", "waiting"])
    finally:
        ray.shutdown()


def test_a_command_that_ray_cannot_begin_has_failed_with_the_reason(
    cluster: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from metalearn.sweep.ray.process import RayProcess, Request
    from metalearn.sweep.ray.queue import connect

    monkeypatch.setenv("HOME", str(home))  # the token of the cluster
    absent = tmp_path / "absent"  # as on a node that does not share the folder
    connect(cluster)
    try:
        process = RayProcess(Request(["true"], tmp_path / "log", {}, absent, share={"num_cpus": 1, "num_gpus": 0}))
        wait_for(lambda: process.exit_code() is not None)
        assert process.exit_code() == f"Ray: FileNotFoundError: [Errno 2] No such file or directory: '{absent}'"
    finally:
        ray.shutdown()


# --- SLURM -------------------------------------------------------------------------------------


def test_ranks_that_slurm_starts_are_one_run(
    metalearn, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compares two tasks under SLURM's variables with one process that has the joint batch."""
    pytest.importorskip("submitit")
    folder = tmp_path / "run"
    folder.mkdir()
    exact = ["trainer.precision=64-true", "optimizer=sgd", "seed=0"]
    arguments = [*SMALL, *exact, "trainer=ddp_cpu", f"hydra.run.dir={folder}"]
    code = f"""
import sys; from pathlib import Path; from metalearn.sweep.slurm.node_task import JobCommand, NodeTask
sys.exit(NodeTask([JobCommand({arguments!r}, Path({str(folder)!r}), {{}})])()[0])
"""
    port = str(20000 + os.getpid() % 10000)
    slurm = {
        "SUBMITIT_EXECUTOR": "slurm",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "sweep",
        "SLURM_NODELIST": "localhost",
        "SLURM_NODEID": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**environment, **slurm, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in range(2)
    ]
    assert [rank.wait(timeout=PATIENCE) for rank in ranks] == [0, 0]
    result = Finished(0, "", folder)
    assert result.result["devices"] == 2
    assert "requeue" not in (folder / "metalearn.log").read_text()
    joint = metalearn(*exact, "trainer=cpu", "tasks_per_batch=2")
    for name, value in joint.checkpoint()["state_dict"].items():
        torch.testing.assert_close(result.checkpoint()["state_dict"][name], value, rtol=1e-9, atol=1e-12)
    assert result.test["accuracy"] == joint.test["accuracy"]
    assert result.test["episodes_sha256"] == joint.test["episodes_sha256"]
