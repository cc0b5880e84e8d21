"""`python -m metalearn.sweep`: states read from directories, cancel, watch, logs and retry."""

import errno
import fcntl
import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import IO

import pytest
from conftest import REPOSITORY
from rich.console import Console
from searching import COMPLETED, Controller, impatient  # noqa: F401
from sweeping import wait_for

from metalearn.run.command import sweep_command
from metalearn.run.command.grammar import readable
from metalearn.run.directory import claim, study_record
from metalearn.run.directory.study_record import StudyRecord
from metalearn.sweep import board, definition, logs, standing, submitted
from metalearn.sweep.__main__ import main
from metalearn.sweep.cancel import cancel
from metalearn.sweep.control import attend, is_attended
from metalearn.sweep.jobs import JOB_LOCK, Job
from metalearn.sweep.retry import clear_failed
from metalearn.sweep.submitted import Submitted

SCORE = {"accuracy": {"mean": 0.5, "std": 0.1, "ci95": 0.1, "num_episodes": 9}}
ENDINGS: dict[str, tuple[dict | None, str | None, tuple[str, int | None, str]]] = {
    "done": ({"status": "completed", "test": SCORE}, "$ a\n# exit code 0\n", ("completed", 0, "")),
    "cut": ({"status": "pruned"}, "$ a\n# exit code 0\n", ("pruned", 0, "")),
    "asked": ({"status": "interrupted"}, "$ a\n# exit code 143\n", ("interrupted", 143, "")),
    "early": (None, "$ a\n# exit code 130\n", ("interrupted", 130, "")),
    "crash": ({"status": "failed", "error": "E"}, "$ a\n# exit code 1\n", ("failed", 1, "exit code 1, E")),
    "bad": (None, "$ a\nmetalearn: no\n# exit code 2\n", ("failed", 2, "refused: no")),
    "shot": (None, "$ a\n# exit code -9\n", ("failed", -9, "killed by SIGKILL")),
    "lost": (None, "$ a\n# exit code 1\n$ a\nstep 3\n", ("failed", None, "killed")),
    "torn": ({"status": "odd"}, "$ a\n", ("failed", None, "cannot be read")),
    "new": (None, None, ("waiting", None, "")),
}
"""Result and log of a job that is not at work, and how it stands."""


def make_sweep(folder: Path, *names: str) -> list[Job]:
    """Records a sweep with jobs of these names."""
    jobs = [Job(i, ["trainer=cpu", f"name={name}"], folder / name) for i, name in enumerate(names)]
    folder.mkdir(exist_ok=True)
    definition.record(folder, jobs, ["--multirun", f"name={','.join(names)}", "hydra.launcher.slots=2"])
    return jobs


def test_a_label_leaves_out_that_a_job_was_continued(tmp_path: Path) -> None:
    job = Job(0, ["seed=1", f"resume='{tmp_path}/0'"], tmp_path / "0")
    assert standing.look(job, tmp_path, set()).label == "seed=1"


@pytest.mark.parametrize("name", ENDINGS)
def test_the_state_of_a_job_that_is_not_at_work(tmp_path: Path, name: str) -> None:
    result, log, (state, code, reason) = ENDINGS[name]
    make_sweep(tmp_path, name, "other")
    (tmp_path / name).mkdir()
    if result is not None:
        (tmp_path / name / "result.json").write_text(json.dumps({"seconds": {}, **result}))
    if log is not None:
        (tmp_path / name / "stdout.log").write_text(log)
    found = standing.read(tmp_path)[0]
    assert (found.state, found.exit_code, found.label) == (state, code, f"name={name}")
    assert reason in found.reason
    assert bool(found.reason) == (state == "failed")
    assert found.test == ("50.00 ± 10.00 %" if name == "done" else "")


def test_a_board_shows_square_brackets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sweep(tmp_path, "names=[old]", "other")
    board.status(tmp_path, Console(width=160))
    assert capsys.readouterr().out.count("names=[old]") == 2  # the name of the job, and its overrides


def test_the_best_job_is_that_of_one_score(tmp_path: Path) -> None:
    rows = {"a": "accuracy\n4,0.3", "b": "accuracy\n4,0.4", "c": "mse\n4,2.5", "d": "mse\n4,3.5"}
    for job in make_sweep(tmp_path, *rows):
        job.folder.mkdir()
        (job.folder / "metrics.csv").write_text(f"step,val/{rows[job.folder.name]}\n")
    said = board.summary(standing.read(tmp_path), tmp_path)
    assert "best accuracy at meta-val 40.00 % by job b, best mse at meta-val 2.5 by job c" in said


def test_the_state_of_jobs_at_work(tmp_path: Path) -> None:
    run, begun, queued = make_sweep(tmp_path, "run", "begun", "queued")
    for job in (run, begun, queued):
        job.folder.mkdir()
    held = [claim.lock(folder / name) for folder in (run.folder,) for name in (claim.LOCK, JOB_LOCK)]
    held.append(claim.lock(begun.folder / JOB_LOCK))
    run.log.write_text("$ a\nstep 5  loss 0.1  100 s left\nstep 9: meta-val accuracy 30 %\n")
    (run.folder / "metrics.csv").write_text("step,val/accuracy\n4,0.25\n8,0.31\n9,nan\n12,0.9")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["sh", "-c", "echo; read line", "submitit"], **pipes) as waits:
        waits.stdout.readline()  # so that it bears its name
        submitted.note(queued.folder, Submitted("local", str(waits.pid)))
        found = standing.read(tmp_path)
        assert [job.state for job in found] == ["running", "starting", "queued"]
        waits.communicate()
    assert 95 < found[0].seconds_left <= 100
    assert str(found[0].best) == "31.00 %"
    for file in held:
        file.close()
    assert [job.state for job in standing.read(tmp_path)] == ["failed", "waiting", "waiting"]


def test_a_reader_keeps_no_run_from_its_directory(tmp_path: Path) -> None:
    """Probes the lock as fast as it can while another thread takes it."""
    path, over = tmp_path / ".lock", threading.Event()
    path.touch()
    reader = threading.Thread(target=lambda: [claim.is_locked(path) for _ in iter(over.is_set, True)])
    reader.start()
    try:
        for _ in range(50):
            file = claim.lock(path)
            assert file is not None
            file.close()
    finally:
        over.set()
        reader.join()


def test_a_network_file_system_shows_who_attends_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks as NFS does, where an exclusive lock needs a file that is open for writing."""
    monkeypatch.setattr(fcntl, "flock", fcntl.lockf)
    with multiprocessing.get_context("fork").Pool(1) as other, attend(tmp_path):
        assert other.apply(is_attended, [tmp_path])
    assert not is_attended(tmp_path)


def test_a_sweep_that_one_may_only_read_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attend(tmp_path).close()
    opened, refused = Path.open, OSError(errno.EROFS, os.strerror(errno.EROFS))

    def only_read(path: Path, mode: str) -> IO[bytes]:
        if mode == "r+b":
            raise refused
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", only_read)
    assert not is_attended(tmp_path)


def test_watch_ends_with_the_last_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sweep(tmp_path, "a", "b")
    monkeypatch.setattr(board, "LOOK", 0.02)
    present = attend(tmp_path)
    threading.Timer(0.2, present.close).start()
    console = Console(width=160, record=True, force_terminal=False)
    began = time.monotonic()
    board.watch(tmp_path, console)
    assert time.monotonic() - began >= 0.2
    assert "2 jobs, 2 waiting, nobody starts the jobs that wait" in console.export_text()


STOPS = "trap 'echo saved > saved; exit 143' TERM; echo > ready; while true; do sleep 0.05; done"
CONTROLLED = f"""
    import sys; sys.path.insert(0, {str(REPOSITORY / "tests/helpers")!r})
    from pathlib import Path; from sweeping import Sweep
    from metalearn.sweep.control import attend
    folder = Path(sys.argv[1]); present = attend(folder)
    sweep = Sweep(folder, [{STOPS!r}] * 3)
    sweep.run(); print(*sweep.statuses)
"""
ALONE = """
    import signal, sys, time; from pathlib import Path; from metalearn.run.directory import claim
    def stop(*_): Path("saved").touch(); sys.exit(143)
    file = claim.lock(Path(".lock")); claim.sign(file); signal.signal(signal.SIGTERM, stop)
    Path("ready").touch(); time.sleep(60)
"""


def test_cancel_stops_controllers_with_their_jobs(tmp_path: Path) -> None:
    make_sweep(tmp_path, "0", "1", "2")
    code = [sys.executable, "-c", textwrap.dedent(CONTROLLED), str(tmp_path)]
    with subprocess.Popen(code, stdout=subprocess.PIPE, text=True) as controller:
        wait_for(lambda: all((tmp_path / f"{i}/ready").exists() for i in range(2)), controller)
        assert cancel(tmp_path) == []
        assert not is_attended(tmp_path)
        out, _ = controller.communicate(timeout=30)
    assert out.split()[-3:] == ["interrupted", "interrupted", "pending"]
    assert [(tmp_path / f"{i}/saved").exists() for i in range(3)] == [True, True, False]


def test_cancel_stops_a_run_without_a_controller(tmp_path: Path) -> None:
    (job,) = make_sweep(tmp_path, "0")
    job.folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(ALONE)], cwd=job.folder) as run:
        wait_for((job.folder / "ready").exists, run)
        assert claim.owner(job.folder / claim.LOCK).pid == run.pid
        assert cancel(tmp_path) == []
        assert run.wait(timeout=30) == 143
    assert (job.folder / "saved").exists()
    assert claim.owner(job.folder / claim.LOCK) is None


def test_cancel_names_the_machine_of_a_run_elsewhere(tmp_path: Path) -> None:
    (job,) = make_sweep(tmp_path, "0")
    job.folder.mkdir()
    with claim.lock(job.folder / claim.LOCK) as held:
        held.write("elsewhere 7\n")
        held.flush()
        assert cancel(tmp_path) == ["job 0 runs on elsewhere as process 7: cancel it there"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_retry_sets_failed_jobs_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failed, done = make_sweep(tmp_path, "0", "1")
    for job, status in ((failed, "failed"), (done, "completed")):
        (job.folder / "checkpoints").mkdir(parents=True)
        (job.folder / "checkpoints/last.ckpt").touch()
        (job.folder / "result.json").write_text(json.dumps({"status": status, "seconds": {}}))
        job.log.write_text("$ a\nout of memory\n# exit code 1\n")
    assert call(monkeypatch, "status", tmp_path) == 1
    assert call(monkeypatch, "logs", tmp_path, "0") == 0
    assert call(monkeypatch, "retry", tmp_path) == 0
    text = capfd.readouterr().out
    assert "out of memory" in text
    assert "1 failed job is set back: 0" in text
    assert f"--multirun name=0,1 hydra.launcher.slots=2 hydra.sweep.dir={tmp_path}" in text
    assert [job.state for job in standing.read(tmp_path)] == ["waiting", "completed"]
    assert (failed.folder / "checkpoints/last.ckpt").exists()
    assert "out of memory" in (failed.folder / "stdout.failed.log").read_text()
    assert call(monkeypatch, "status", tmp_path) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["status", "."], "holds no sweep: it has no sweep.json"),
        (["logs", "sweep", "9"], "job 9 has no output"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_sweep(tmp_path / "sweep", "0")
    assert call(monkeypatch, *arguments) == 2
    text = capfd.readouterr().err
    assert line in text
    assert text.count("\n") == 1


def test_retry_queues_the_failed_trials_of_a_search(tmp_path: Path) -> None:
    """Fails the first trial once; its directory continues under another number of the study."""
    fails_once = f"[ -e ../tried ] || {{ echo > ../tried; exit 1; }}; {COMPLETED}"
    search = Controller(tmp_path, script=fails_once, n_trials=2, slots=1)
    definition.record(tmp_path, [], ["--multirun"])
    study_record.write(StudyRecord(str(tmp_path / "study.log"), tmp_path.name, "accuracy"), tmp_path)
    search.run()
    assert [job.state for job in standing.read(tmp_path)] == ["failed", "completed", "completed"]
    assert [job.name for job in clear_failed(tmp_path)] == ["0000"]
    again = Controller(tmp_path, script=COMPLETED, n_trials=3, slots=1)
    assert [again.trials.folder(trial).name for trial in again.trials.failed()] == []
    again.run()
    assert [job.state for job in standing.read(tmp_path)] == ["completed"] * 3
    assert again.states() == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_retry_of_a_search_that_is_over_runs_its_failed_trials(tmp_path: Path) -> None:
    fails_once = f"[ -e ../tried ] || {{ echo > ../tried; exit 1; }}; {COMPLETED}"
    definition.record(tmp_path, [], ["--multirun"])
    study_record.write(StudyRecord(str(tmp_path / "study.log"), tmp_path.name, "accuracy"), tmp_path)
    Controller(tmp_path, script=fails_once, n_trials=2, slots=1).run()
    assert [job.name for job in clear_failed(tmp_path)] == ["0000"]
    assert [job.state for job in standing.read(tmp_path)] == ["waiting", "completed", "completed"]
    again = Controller(tmp_path, script=COMPLETED, n_trials=2, slots=2)
    again.run()
    assert [job.state for job in standing.read(tmp_path)] == ["completed"] * 3
    assert again.states() == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    after = Controller(tmp_path, script="exit 1", n_trials=2)
    after.run()
    assert after.states() == again.states()


def test_a_retry_that_is_interrupted_goes_on(tmp_path: Path) -> None:
    definition.record(tmp_path, [], ["--multirun"])
    study_record.write(StudyRecord(str(tmp_path / "study.log"), tmp_path.name, "accuracy"), tmp_path)
    fails_once = f"[ -e ../tried ] || {{ echo > ../tried; exit 1; }}; {COMPLETED}"
    Controller(tmp_path, script=fails_once, n_trials=2, slots=1).run()
    clear_failed(tmp_path)
    first, other = (Controller(tmp_path, n_trials=2).trials for _ in range(2))
    assert first.ask() is not None
    assert other.ask() is None and not other.is_over
    first.leave()
    assert (job := other.ask()) is not None and job.folder.name == "0000"


@pytest.mark.parametrize("name", ["s", "a,b"])
def test_a_command_is_for_the_directory_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sweep, typed = tmp_path / name, ["-m", "name=0", "dataset.root=data"]
    monkeypatch.chdir(tmp_path)
    sweep.mkdir()
    definition.record(sweep, [], typed)
    (tmp_path / "else where").mkdir()

    def words(line: str) -> list[str]:
        return [readable(word, multirun=True) if "=" in word else word for word in shlex.split(line)]

    def place(path: object) -> str:
        return readable(f"hydra.sweep.dir={path}", multirun=False)

    start, own = ["python", "-m", "metalearn", *typed], place(name)
    for function in (sweep_command.from_here, sweep_command.as_typed):
        assert words(function(Path(name))) == [*start, own]
    monkeypatch.chdir(tmp_path / "else where")
    away, moved = Path("..") / name, ["cd", str(tmp_path), "&&"]
    for function in (sweep_command.from_here, sweep_command.as_typed):
        assert words(function(away)) == [*moved, *start, place(sweep)]


def test_a_directory_that_was_typed_is_named_from_where_one_is(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path)
    definition.record(tmp_path, [], ["-m", "hydra.sweep.dir=."])
    monkeypatch.chdir(tmp_path / "else")
    line = f"cd {tmp_path} && python -m metalearn -m hydra.sweep.dir="
    assert sweep_command.as_typed(Path("..")) == f"{line}."
    assert sweep_command.from_here(Path("..")) == f"{line}{tmp_path}"


def test_the_exit_code_of_a_real_process_is_noted(tmp_path: Path) -> None:
    from metalearn.sweep.jobs import FreshProcess

    log = tmp_path / "stdout.log"
    process = FreshProcess(["sh", "-c", "kill -9 $$"], log=log, environment=dict(os.environ), held=None)
    wait_for(lambda: process.exit_code() is not None)
    assert logs.exit_code(log) == process.exit_code() == -signal.SIGKILL
    assert log.read_text().count("# exit code") == 1
