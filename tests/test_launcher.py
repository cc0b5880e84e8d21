"""The launcher of sweeps, on shell commands that stand for runs."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from metalearn.sweep import definition, schedule
from metalearn.sweep.jobs import FreshProcess, Job
from metalearn.sweep.screen import Screen
from metalearn.sweep.slots import Slots, make_slots, visible_gpus

DONE = """echo '{"status": "completed", "seconds": {}}' > result.json"""


class Sweep:
    """Shell scripts for jobs, each run in the folder of its job; `started` notes the places of each."""

    def __init__(self, folder: Path, scripts: list[str]) -> None:
        self.jobs = [Job(i, [f"script={i}"], folder / str(i)) for i in range(len(scripts))]
        self.scripts = scripts
        self.started: list[tuple[int, tuple[str, ...]]] = []

    def run(
        self,
        slots: Slots | None = None,
        *,
        widths: dict[int, int | None] | None = None,
        timeout: float | None = None,
        retries: int = 0,
    ) -> signal.Signals | None:
        slots = slots or Slots(["a", "b"], gpu=False, threads=1)

        def start(job: Job, places: list[str], held: IO[str]) -> FreshProcess:
            self.started.append((job.number, tuple(places)))
            command = ["sh", "-c", f"cd {job.folder}; {self.scripts[job.number]}"]
            environment = {**os.environ, **slots.environment(places)}
            return FreshProcess(command, log=job.log, environment=environment, held=held)

        return schedule.run(
            self.jobs,
            slots=slots,
            start=start,
            processes=lambda job: (widths or {}).get(job.number, 1),
            screen=Screen(self.jobs),
            timeout=timeout,
            retries=retries,
        )

    @property
    def statuses(self) -> list[str]:
        return [job.status for job in self.jobs]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- slots ------------------------------------------------------------------------------------------------------------


def test_slots_are_gpus_or_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    both = make_slots("auto", None)
    assert (both.free, both.gpu, both.threads) == (["2", "3"], True, 4)
    assert make_slots(3, None).free == ["2", "3", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cores = make_slots("auto", None)
    assert (cores.capacity, cores.gpu, cores.threads) == (8, False, 1)
    assert make_slots("auto", 2).capacity == 4
    assert (make_slots(2, None).threads, make_slots([0, 0, 1], None).gpu) == (4, True)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert (make_slots("auto", None).capacity, make_slots("auto", None).threads) == (2, 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA H200 (UUID: GPU-2)'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert visible_gpus() == ["0", "1"]
    for wrong in (0, -1, True, [], "all", 1.5):
        with pytest.raises(ValueError, match=r"hydra\.launcher\.slots="):
            make_slots(wrong, None)


def test_jobs_see_the_gpus_of_their_slots(tmp_path: Path) -> None:
    """[0,0,1]: two jobs on GPU 0 and one on GPU 1 at a time; a job of two processes has both GPUs."""
    at_work = tmp_path / "at_work"
    at_work.mkdir()
    wait = f"touch {at_work}/$$; while [ $(ls {at_work} | wc -l) -lt 3 ]; do sleep 0.05; done"
    script = f'echo "$CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS" > seen; {DONE}'
    sweep = Sweep(tmp_path, [f"{wait}; {script}"] * 3 + [script])
    assert sweep.run(Slots(["0", "0", "1"], gpu=True, threads=3), widths={3: 2}) is None
    assert set(sweep.statuses) == {"completed"}
    seen = [(job.folder / "seen").read_text().strip() for job in sweep.jobs]
    assert sorted(seen[:3]) == ["0 3", "0 3", "1 3"]
    assert sorted(seen[3].partition(" ")[0].split(",")) == ["0", "1"]


def test_a_wide_job_waits_for_its_places_and_takes_all_when_there_are_fewer() -> None:
    slots = Slots(["0", "1"], gpu=True, threads=1)
    first = slots.take(1)
    assert slots.take(2) is None
    slots.give_back(first)
    both = slots.take(8)
    assert sorted(both) == ["0", "1"]
    assert slots.take(1) is None
    slots.give_back(both)
    assert sorted(slots.take(None)) == ["0", "1"]


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_a_job_that_fails_or_is_killed_stops_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep = Sweep(tmp_path, ["echo no luck; exit 3", "kill -9 $$", DONE, "true", DONE])
    assert sweep.run() is None
    assert sweep.statuses == ["failed", "failed", "completed", "failed", "completed"]
    assert [job.reason for job in sweep.jobs[:2]] == ["exit code 3", "killed by SIGKILL"]
    assert "no result.json" in sweep.jobs[3].reason
    assert "no luck" in sweep.jobs[0].log.read_text()
    printed = capfd.readouterr().out
    assert re.search(rf"^job 0 failed in \d+ s \(exit code 3\): {sweep.jobs[0].log}", printed, re.MULTILINE)
    assert re.search(r"^job 2 completed in \d+ s", printed, re.MULTILINE)


def test_a_score_that_is_no_number_stops_no_other_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A result has null for what was NaN: the interval of one episode, and all of a training that diverged."""
    tests = [
        {"accuracy": {"mean": 0.5, "std": None, "ci95": None, "num_episodes": 1}},
        {"mse": {"mean": None, "std": None, "ci95": None, "num_episodes": 1}},
    ]
    results = [json.dumps({"status": "completed", "seconds": {}, "test": test}) for test in tests]
    sweep = Sweep(tmp_path, [f"echo '{result}' > result.json" for result in results] + [DONE])
    sweep.run()
    assert sweep.statuses == ["completed"] * 3
    Screen(sweep.jobs).table()
    printed = capfd.readouterr().out
    assert "┃ accuracy or squared error ┃" in printed
    for job, heading in zip(sweep.jobs[:2], ("accuracy", "squared error"), strict=True):
        Screen([job]).table()
        assert re.search(rf"┃ {heading} *┃", capfd.readouterr().out)
    assert printed.count("50.00 ± ? %") == printed.count("? ± ?") == 2  # the line of the job, and the table


def test_no_process_of_a_job_is_left(tmp_path: Path) -> None:
    """A rank whose first process has died would wait for ever."""
    sweep = Sweep(tmp_path, ["sleep 1000 & echo $! > rank; kill -9 $$"])
    sweep.run()
    rank = int((tmp_path / "0/rank").read_text())
    wait_for(lambda: not Path(f"/proc/{rank}").exists() or "Z" in Path(f"/proc/{rank}/stat").read_text().split()[2])


def test_retries(tmp_path: Path) -> None:
    twice = "echo x >> tries; [ $(wc -l < tries) -ge 3 ] || exit 1"
    sweep = Sweep(tmp_path, [f"{twice}; {DONE}", "echo x >> tries; exit 1", "echo x >> tries; exit 2"])
    sweep.run(retries=2)
    assert sweep.statuses == ["completed", "failed", "failed"]
    tries = [len((job.folder / "tries").read_text().split()) for job in sweep.jobs]
    assert tries == [3, 3, 1]  # bad input, exit code 2, stays bad


def test_a_job_over_its_time_is_stopped(tmp_path: Path) -> None:
    stops = "trap 'touch saved; exit 143' TERM; while true; do sleep 0.05; done"
    sweep = Sweep(tmp_path, [stops, DONE])
    sweep.run(timeout=1)
    assert sweep.statuses == ["failed", "completed"]
    assert sweep.jobs[0].reason == "stopped after 1 s"
    assert (tmp_path / "0/saved").exists()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_the_rest_stays_pending(tmp_path: Path, sent: signal.Signals) -> None:
    if signal.getsignal(sent) is signal.SIG_IGN:
        pytest.skip(f"{sent.name} is ignored here, as under nohup, and so it should be")
    # In the place of the shell, whose end would have what it started killed while that writes.
    told = """exec python3 -c "
import signal, sys, time, json
def stop(number, frame):
    json.dump({'status': 'interrupted', 'seconds': {}}, open('result.json', 'w')); sys.exit(128 + number)
for one in (signal.SIGINT, signal.SIGTERM): signal.signal(one, stop)
open('ready', 'w'); time.sleep(30)
" """
    sweep = Sweep(tmp_path, [told, told, DONE])
    ready = "while [ ! -e ../0/ready ] || [ ! -e ../1/ready ]; do sleep 0.05; done"
    script = f"mkdir -p {tmp_path}/k; cd {tmp_path}/k; {ready}; kill -{sent.value} {os.getpid()}"
    killer = subprocess.Popen(["sh", "-c", script])
    assert sweep.run() == sent
    killer.wait()
    assert sweep.statuses == ["interrupted", "interrupted", "pending"]


def test_a_second_signal_kills(tmp_path: Path) -> None:
    stubborn = "trap 'touch told' TERM; touch ready; while true; do sleep 0.05; done"
    sweep = Sweep(tmp_path, [stubborn])
    script = f"""cd {tmp_path}; mkdir -p 0; while [ ! -e 0/ready ]; do sleep 0.05; done; kill -15 {os.getpid()}
        while [ ! -e 0/told ]; do sleep 0.05; done; kill -15 {os.getpid()}"""
    killer = subprocess.Popen(["sh", "-c", script])
    assert sweep.run() == signal.SIGTERM
    killer.wait()
    assert sweep.statuses == ["interrupted"]


def test_a_job_whose_controller_was_killed_is_waited_for(tmp_path: Path) -> None:
    goes_on = f"echo x >> starts; while [ ! -e ../go ]; do sleep 0.05; done; {DONE}"
    code = f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path; from test_launcher import Sweep
        Sweep(Path({str(tmp_path)!r}), [{goes_on!r}]).run()
    """
    controller = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    wait_for((tmp_path / "0/starts").exists, controller)
    controller.kill()
    controller.wait()
    again = Sweep(tmp_path, [goes_on, "touch ../go; " + DONE])
    again.run()
    assert again.statuses == ["completed", "completed"]
    assert [number for number, _ in again.started] == [1]
    assert (tmp_path / "0/starts").read_text().split() == ["x"]


# --- what a sweep consists of -----------------------------------------------------------------------------------------


def jobs(folder: Path, *overrides: str) -> list[Job]:
    return [Job(i, ["trainer=cpu", one], folder / str(i)) for i, one in enumerate(overrides)]


def test_another_definition_under_the_same_name_is_refused(tmp_path: Path) -> None:
    definition.record(tmp_path, jobs(tmp_path, "seed=0", "seed=1"), ["-m"])
    definition.record(tmp_path, jobs(tmp_path, "seed=0", "seed=1", "seed=2"), ["-m"])  # more of the same
    before = (tmp_path / definition.NAME).read_text()
    with pytest.raises(ValueError, match=r"its job 1 has seed=1 where this command has seed=7; .* hydra\.sweep\.dir"):
        definition.record(tmp_path, jobs(tmp_path, "seed=0", "seed=7"), ["-m"])
    assert (tmp_path / definition.NAME).read_text() == before
    (tmp_path / "3").mkdir()
    (tmp_path / "3/result.json").write_text("{}")
    with pytest.raises(ValueError, match="3 holds another run"):
        definition.record(tmp_path, jobs(tmp_path, "seed=0", "seed=1", "seed=2", "seed=3"), ["-m"])


def test_the_same_command_goes_on_with_what_is_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["-m", "seed=0,1", "trainer=cpu"]
    sweep = tmp_path / "outputs/sweeps/first"
    sweep.mkdir(parents=True)
    definition.record(sweep, jobs(sweep, "seed=0", "seed=1"), argv)
    found = "hydra.sweep.dir='outputs/sweeps/first'"
    assert definition.going_on(argv) == [*argv, found]
    assert definition.going_on([*argv, "hydra.launcher.slots=1"])[-1] == found
    for same in (["--multirun", *argv[1:]], ["trainer=cpu", "seed=0,1", "-m"]):
        assert definition.going_on(same) == [*same, found]
    for other in (
        ["-m", "seed=0,1,2", "trainer=cpu"],
        ["-m", "--config-dir", "c", *argv[1:]],
        ["seed=0,1", "trainer=cpu"],
        [*argv, "hydra.sweep.dir=x"],
        [*argv, "hydra.searchpath=[file://c]"],
    ):
        assert definition.going_on(other) == other
    for i in range(2):
        (sweep / f"{i}").mkdir()
        (sweep / f"{i}/result.json").write_text('{"status": "completed"}')
    assert definition.going_on(argv) == argv  # all is finished: the next one is new
