"""The loop of sweeps, with shell commands as runs."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import REPOSITORY
from sweeping import DONE, Sweep, wait_for

from metalearn.sweep import interrupts, logs, standing
from metalearn.sweep.jobs import Job
from metalearn.sweep.screen import Screen
from metalearn.sweep.slots import Slots


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
    """Accepts null in a result, for NaN: the interval of one episode, or a diverged run."""
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
    assert printed.count("50.00 ± ? %") == printed.count("? ± ?") == 2  # line of the job, and table


def test_no_process_of_a_job_is_left(tmp_path: Path) -> None:
    """Kills the other ranks, which would wait for a dead rank 0 for ever."""
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
    assert tries == [3, 3, 1]  # bad input, exit code 2, is not retried


def states(sweep: Sweep) -> list[tuple[str, str]]:
    """Returns the state and reason of each job, as another process reads them."""
    read = (standing.look(Job(job.number, job.overrides, job.folder), sweep.folder, set()) for job in sweep.jobs)
    return [(found.state, found.reason) for found in read]


def test_a_job_stands_as_its_sweep_has_ended_it(tmp_path: Path) -> None:
    """Saves on a signal: one job at its time limit, one on a signal from outside."""
    (tmp_path / "saved.json").write_text(json.dumps({"status": "interrupted", "seconds": {}}))
    save = "cp ../saved.json result.json; exit 143"
    sweep = Sweep(tmp_path, [f"trap '{save}' TERM; while true; do sleep 0.05; done", save])
    sweep.run(timeout=1)
    assert states(sweep) == [("failed", "stopped after 1 s"), ("failed", "exit code 143")]
    assert [(job.status, job.reason) for job in sweep.jobs] == states(sweep)


def test_a_job_that_a_user_has_continued_since_stands_as_that_run_has_ended(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, ["trap 'exit 143' TERM; while true; do sleep 0.05; done"])
    sweep.run(timeout=1)
    assert states(sweep) == [("failed", "stopped after 1 s")]
    result = tmp_path / "0/result.json"
    for status in ("interrupted", "completed"):
        result.write_text(json.dumps({"status": status, "seconds": {}}))
        os.utime(result, (time.time() + 1,) * 2)
        assert states(sweep) == [(status, "")]


def test_a_job_stands_as_ended_whatever_it_has_printed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, ["printf 12; kill -9 $$", 'cp ../failed.json result.json; printf "# failed: no"; exit 1'])
    error = "/data/caf\udce9 is no folder"  # as Python reads a name that is not UTF-8
    (tmp_path / "failed.json").write_text(json.dumps({"status": "failed", "error": error, "seconds": {}}))
    sweep.run()
    reasons = ["killed by SIGKILL", r"exit code 1, /data/caf\udce9 is no folder"]
    assert states(sweep) == [("failed", reason) for reason in reasons]
    assert [logs.exit_code(job.log) for job in sweep.jobs] == [-9, 1]


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
    # Python runs instead of the shell, because the end of the shell would kill its child during the
    # write.
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


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_signal_that_comes_twice_at_once_counts_once(monkeypatch: pytest.MonkeyPatch, cancelled: bool) -> None:
    sent: list[signal.Signals] = []
    jobs: Any = [SimpleNamespace(process=SimpleNamespace(send=sent.append))]
    with interrupts.Interrupts() as received:
        if cancelled:
            received.cancel()
            received.forward(jobs)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            received.forward(jobs)
        assert sent == [signal.SIGTERM]
        monkeypatch.setattr(interrupts, "ECHO", 0.0)
        os.kill(os.getpid(), signal.SIGINT)
        received.forward(jobs)
    assert sent == [signal.SIGTERM, signal.SIGKILL]


def test_a_second_signal_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "ECHO", 0.0)
    stubborn = "trap 'touch told' TERM; touch ready; while true; do sleep 0.05; done"
    sweep = Sweep(tmp_path, [stubborn])
    script = f"""cd {tmp_path}; mkdir -p 0; while [ ! -e 0/ready ]; do sleep 0.05; done; kill -15 {os.getpid()}
        while [ ! -e 0/told ]; do sleep 0.05; done; kill -15 {os.getpid()}"""
    killer = subprocess.Popen(["sh", "-c", script])
    assert sweep.run() == signal.SIGTERM
    killer.wait()
    assert sweep.statuses == ["interrupted"]
    assert states(sweep) == [("interrupted", "")]


def test_a_job_whose_controller_was_killed_is_waited_for(tmp_path: Path) -> None:
    goes_on = f"echo x >> starts; while [ ! -e ../go ]; do sleep 0.05; done; {DONE}"
    code = f"""
        import sys; sys.path.insert(0, {str(REPOSITORY / "tests/helpers")!r})
        from pathlib import Path; from sweeping import Sweep
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


def test_a_job_that_another_process_has_finished_meanwhile_is_not_run(tmp_path: Path) -> None:
    """Finishes the second job by hand while the first runs, as another worker would."""
    other = f"cd ../1; {DONE}"
    sweep = Sweep(tmp_path, [f"mkdir ../1; ({other}); {DONE}", "exit 1"])
    sweep.run(Slots(["a"], gpu=False, threads=1))
    assert sweep.statuses == ["completed", "completed"]
    assert [number for number, _ in sweep.started] == [0]
