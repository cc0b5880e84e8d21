"""Jobs that are left to a cluster, and several jobs in one allocation."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, SMALL
from sweeping import wait_for

from metalearn.sweep import submitted
from metalearn.sweep.jobs import FreshProcess, Job
from metalearn.sweep.launcher import submit
from metalearn.sweep.submitted import Submitted

batch = pytest.importorskip("metalearn.sweep.slurm.batch")
from metalearn.sweep.slurm import node_task  # noqa: E402
from metalearn.sweep.slurm.batch import Shape, Submitter  # noqa: E402
from metalearn.sweep.slurm.node_task import JobCommand, NodeTask  # noqa: E402

STOPS = "trap 'exit 143' TERM; touch ready; while true; do sleep 0.02; done"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the arguments of a command a shell script, and restores the handlers of signals."""

    def start(command: JobCommand, rank: int, ignored: str) -> FreshProcess:
        line = ["sh", "-c", f"cd {command.folder}; {command.arguments[0]}"]
        return FreshProcess(line, log=command.folder / "stdout.log", environment=dict(os.environ), held=None)

    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setattr(node_task, "_start", start)
    monkeypatch.setattr(node_task, "POLL", 0.01)
    monkeypatch.setattr(node_task.atexit, "register", lambda *_: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def commands(folder: Path, *scripts: str) -> list[JobCommand]:
    for i in range(len(scripts)):
        (folder / str(i)).mkdir()
    return [JobCommand([script], folder / str(i), {}) for i, script in enumerate(scripts)]


@pytest.mark.usefixtures("scripts")
def test_jobs_of_an_allocation_run_at_the_same_time(tmp_path: Path) -> None:
    meets = "touch here; while [ ! -e ../{}/here ]; do sleep 0.02; done; exit {}"
    task = NodeTask(commands(tmp_path, meets.format(1, 0), meets.format(0, 3), "exit 0"))
    assert task() == [0, 3, 0]


def preempted(task: NodeTask, ready: Path) -> NodeTask:
    """Runs a task until its last job is ready and the first has ended; returns what is requeued."""
    delayed: list[Any] = []

    def preempt() -> None:
        wait_for(ready.exists)
        wait_for(lambda: 0 not in task._processes or task._processes[0].exit_code() is not None)
        delayed.append(task.checkpoint())

    thread = threading.Thread(target=preempt)
    thread.start()
    assert task() == [3, 0, 143]
    thread.join()
    ready.unlink()
    return delayed[0].function


@pytest.mark.usefixtures("scripts")
def test_each_requeue_continues_the_jobs_that_were_stopped(tmp_path: Path) -> None:
    """Preempts three jobs twice: one has failed, one is finished, one runs."""
    task = NodeTask(commands(tmp_path, "exit 3", "exit 0", STOPS))
    (tmp_path / "1/result.json").write_text('{"status": "completed", "seconds": {}}')
    for _ in range(2):
        task = preempted(task, tmp_path / "2/ready")
        assert task._codes == [3, 0, None]
    task._commands[2] = task._commands[2]._replace(arguments=["exit 0"])
    assert task() == [3, 0, 0]


class Job1:
    """Job of a batch system with a number."""

    def __init__(self, number: int) -> None:
        self.job_id = f"7_{number}"


class Executor:
    """Executor that remembers its arrays."""

    def __init__(self, shape: Shape, arrays: list) -> None:
        self.shape, self.tasks = shape, []
        arrays.append(self)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        yield

    def submit(self, task: NodeTask) -> Job1:
        self.tasks.append(task)
        return Job1(len(self.tasks))


def test_packs_and_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs jobs of one process by three; wide jobs stay alone, and arrays have a limit."""
    monkeypatch.setattr(batch, "MOST", 2)
    arrays: list[Executor] = []
    submitter = Submitter("slurm", lambda shape: Executor(shape, arrays), jobs_per_task=3)
    narrow, wide = Shape(1, 1, 1), Shape(2, 4, 4)
    processes = [
        submitter.add(command, wide if i == 4 else narrow)
        for i, command in enumerate(commands(tmp_path, *["exit 0"] * 12))
    ]
    submitter.submit()
    sizes = {(array.shape, tuple(len(task._commands) for task in array.tasks)) for array in arrays}
    assert sizes == {
        (narrow._replace(jobs=3), (3, 3)),
        (narrow._replace(jobs=3), (3,)),
        (narrow._replace(jobs=2), (2,)),
        (wide._replace(jobs=1), (1,)),
    }
    first = processes[:3]
    assert [place.index for place in first] == [0, 1, 2]
    assert len({place.allocation for place in first}) == 1
    assert submitted.read(processes[0].folder) == Submitted("slurm", "7_1")


def test_a_refusal_ends_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Refuses a first submission, whose reason is kept, and a later one, which is tried again.

    One line states a refusal that repeats, and another one that comes back later.
    """
    arrays: list[Executor] = []
    refuses = [True, False, False, True, True, False, True, False]

    class Restarting(Executor):
        def submit(self, task: NodeTask) -> Job1:
            if refuses.pop(0):
                arrays.remove(self)
                raise batch.FailedJobError("sbatch: error: Unable to contact slurm controller")
            return super().submit(task)

    monkeypatch.setattr(batch, "AGAIN", 0.0)
    monkeypatch.setattr(batch.BatchProcess, "_look", lambda _: None)
    first, second = commands(tmp_path, "exit 0", "exit 0")
    submitter = Submitter("slurm", lambda shape: Restarting(shape, arrays))
    process = submitter.add(first, Shape(1, 1, 0))
    with pytest.raises(ValueError, match="^the jobs were not submitted: sbatch: error: Unable to contact"):
        process.exit_code()
    process.send(signal.SIGTERM)
    assert process.exit_code() == "not submitted"
    processes = [submitter.add(command, Shape(1, 1, 0)) for command in (first, second)]
    assert [process.exit_code() for process in processes] == [None, None]
    assert [len(array.tasks) for array in arrays] == [2]
    later = submitter.add(second, Shape(1, 1, 0))
    assert later.exit_code() is None and len(arrays) == 1
    assert later.exit_code() is None and len(arrays) == 1
    assert caplog.text.count("Unable to contact slurm controller") == 1
    assert later.exit_code() is None and len(arrays) == 2
    last = submitter.add(first, Shape(1, 1, 0))
    assert last.exit_code() is None and len(arrays) == 2
    assert caplog.text.count("Unable to contact slurm controller") == 2
    assert last.exit_code() is None and len(arrays) == 3


def test_a_signal_reaches_an_allocation_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the waiting elements before the running ones, lest one takes the place of another."""
    log = tmp_path / "calls"
    (tmp_path / "scancel").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    (tmp_path / "scancel").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    allocation = batch.Allocation(Job1(1), "slurm")
    for _ in range(3):
        allocation.send(signal.SIGTERM)
    assert log.read_text().splitlines() == [
        "--quiet --state=PENDING 7_1",
        "--quiet --state=RUNNING --signal=INT 7_1",
    ]
    submitted.stop([Submitted("slurm", "7_1"), Submitted("slurm", "7_2"), Submitted("slurm", "7_1")])
    assert log.read_text().splitlines()[2:] == [
        "--quiet --state=PENDING 7_1 7_2",
        "--quiet --state=RUNNING --signal=INT 7_1 7_2",
    ]


def test_finished_and_running_jobs_are_not_submitted(tmp_path: Path) -> None:
    done, running, left, failed = (Job(i, [], tmp_path / str(i)) for i in range(4))
    done.status = "completed"
    held = (running.folder.mkdir(), running.begin())[1]
    failed.folder.mkdir()
    (failed.folder / "result.json").write_text("{}")
    given: list[Job] = []
    assert submit([done, running, left, failed], given.extend) == "2 jobs submitted, 1 at work before"
    assert given == [left, failed]
    assert not (failed.folder / "result.json").exists()
    assert not left.is_at_work_elsewhere()
    held.close()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["hydra/launcher=slurm", "hydra.launcher.retries=1"], "hydra.launcher.retries=1 needs a command that waits"),
        (["hydra/launcher=ray"], "hydra.launcher.wait=false needs a cluster that outlives the command"),
        (["hydra/launcher=slurm", "hydra/sweeper=optuna"], "a search waits for its trials, to choose the next"),
    ],
)
def test_waiting_that_is_needed(metalearn, tmp_path: Path, overrides: list[str], line: str) -> None:
    local = ["hydra.launcher.cluster=local"] if "hydra/launcher=slurm" in overrides else []
    done = metalearn("-m", "seed=0,1", *overrides, *local, "hydra.launcher.wait=false", f"hydra.sweep.dir={tmp_path}")
    assert done.code == 2
    assert line in done.text.splitlines()[-1]


def test_a_sweep_that_is_left_finishes_without_its_command(environment: dict[str, str], tmp_path: Path) -> None:
    overrides = [*SMALL, "trainer=cpu", "trainer.max_steps=2", "seed=0,1", f"hydra.sweep.dir={tmp_path}"]
    overrides += ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.wait=false"]
    command = [sys.executable, "-m", "metalearn", "-m", *overrides, "hydra.launcher.jobs_per_task=2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "2 jobs submitted" in done.stdout
    assert f"python -m metalearn.sweep watch {tmp_path}" in done.stdout
    watched = subprocess.run(
        [sys.executable, "-m", "metalearn.sweep", "watch", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert watched.returncode == 0, watched.stdout
    assert "2 jobs, 2 completed" in watched.stdout
    assert len([*(tmp_path / ".submitit").glob("*_result.pkl")]) == 1
