"""Several controllers of one study: in every kind of storage, and after the death of one."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState
from searching import COMPLETED, Controller, impatient, of_a_dead_process  # noqa: F401

from metalearn.report.reading import searches
from metalearn.run.directory import study_record
from metalearn.run.directory.study_record import StudyRecord
from metalearn.run.trials.trial import open_storage

SCORED = {"mean": 0.5, "std": 0, "ci95": 0, "num_episodes": 1}
DONE = json.dumps({"status": "completed", "val": {"accuracy": SCORED}})


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Returns the URL of a private server on the loopback."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path("/nowhere")]
    if not (programs[-1] / "initdb").exists():
        pytest.skip("Debian's postgresql is not installed")
    # The server refuses root.
    user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="metalearn-postgresql-"))
    if user:
        shutil.chown(folder, **user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        command = [str(programs[-1] / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **user)

    call("initdb", "-U", "metalearn", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    call("pg_ctl", "start", "-w", "-o", options, "-l", str(folder / "log"))
    try:
        yield f"postgresql+psycopg://metalearn@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "stop", "-m", "immediate")
        shutil.rmtree(folder)


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql")
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else str(tmp_path / "study.log")


def test_several_controllers_make_no_duplicates_and_no_trial_too_many(tmp_path: Path, storage: str) -> None:
    of_a_dead_process(Controller(tmp_path, storage=storage, n_trials=6)).trials.ask()
    controllers = [Controller(tmp_path, storage=storage, n_trials=6) for _ in range(2)]
    threads = [threading.Thread(target=controller.run) for controller in controllers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = controllers[0].values()
    assert len(values) == len(set(values)) == 6
    assert sum(len(controller.jobs) for controller in controllers) == 6
    assert not controllers[0].study.get_trials(states=(TrialState.RUNNING,))


def test_a_report_reads_the_study_of_every_storage(tmp_path: Path, storage: str) -> None:
    controller = Controller(tmp_path, storage=storage, n_trials=2)
    controller.run()
    study_record.write(StudyRecord(storage, tmp_path.name, "accuracy"), tmp_path)
    trials = searches.read(tmp_path).trials
    assert [trial.params["x"] for trial in trials] == controller.values()
    assert [trial.state for trial in trials] == ["completed"] * 2
    assert all((trial.folder / "result.json").is_file() for trial in trials)


def test_a_grid_has_every_point_once(tmp_path: Path) -> None:
    options: dict[str, Any] = {"params": "range(0,6)", "sampler": "grid", "n_trials": 100}
    of_a_dead_process(Controller(tmp_path, **options)).trials.ask()
    controllers = [Controller(tmp_path, script=f"[ $x = 2 ] && exit 1; {COMPLETED}", **options) for _ in range(2)]
    threads = [threading.Thread(target=controller.run) for controller in controllers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(controllers[0].values()) == [0, 1, 3, 4, 5]
    assert [trial.params["x"] for trial in controllers[0].trials.failed()] == [2]
    assert controllers[0].trials.is_over


def test_a_storage_that_cannot_be_opened_is_one_line_without_its_password() -> None:
    with pytest.raises(ValueError, match="the study's postgresql") as raised:
        open_storage("postgresql+psycopg://me:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("left", ["at work", "completed", "nothing"])
def test_the_trials_of_a_dead_controller_are_taken_over(tmp_path: Path, left: str) -> None:
    dead = of_a_dead_process(Controller(tmp_path, n_trials=2))
    job = dead.trials.ask()
    assert job is not None
    job.folder.mkdir()
    living = Controller(tmp_path, n_trials=2)
    held = job.begin() if left == "at work" else None
    if left == "completed":
        (job.folder / "result.json").write_text(DONE)
    living.trials.look_after()
    states = {"at work": ["RUNNING"], "completed": ["COMPLETE"], "nothing": ["FAIL", "WAITING"]}
    assert living.states() == states[left]
    if held is not None:
        held.close()
    living.run()
    assert living.trials.num_finished == 2
    assert job.overrides[1].removeprefix("x=") in map(str, living.values())
    assert len(set(living.values())) == 2


def test_a_damaged_result_that_a_dead_controller_left_is_a_failure(tmp_path: Path) -> None:
    job = of_a_dead_process(Controller(tmp_path, n_trials=1)).trials.ask()
    assert job is not None
    job.folder.mkdir()
    (job.folder / "result.json").write_text(DONE[:20])
    living = Controller(tmp_path, n_trials=1)
    living.run()
    assert living.states() == ["FAIL", "COMPLETE"]


def test_of_equal_trials_the_first_to_begin_is_the_best_everywhere(tmp_path: Path) -> None:
    """Continues trial 0000 after 0001 has completed with the score of both."""
    dead = of_a_dead_process(Controller(tmp_path, n_trials=2, script=f"echo '{DONE}' > result.json"))
    for job in (dead.trials.ask(), dead.trials.ask()):
        assert job is not None
        job.folder.mkdir()
    (job.folder / "result.json").write_text(DONE)
    living = Controller(tmp_path, n_trials=2, script=dead.script)
    living.run()
    assert living.states() == ["FAIL", "COMPLETE", "COMPLETE"]
    study_record.write(StudyRecord(str(tmp_path / "study.log"), tmp_path.name, "accuracy"), tmp_path)
    reported, written = searches.read(tmp_path).best, yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert reported is not None
    assert (reported.folder.name, written["directory"]) == ("0000", "0000")


def test_a_living_controller_keeps_its_trials_while_its_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living, other = Controller(tmp_path), Controller(tmp_path)
    elsewhere = "another-machine:1"
    living.trials._owner = elsewhere
    living.trials.ask()
    other.trials.look_after()
    assert other.states() == ["RUNNING"]
    now = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: now)
    living.trials._beaten -= 100
    living.trials.look_after()
    other.trials._looked -= 100
    other.trials.look_after()
    assert other.states() == ["RUNNING"]
    monkeypatch.setattr(time, "time", lambda: now + 301)
    other.trials._looked -= 100
    other.trials.look_after()
    assert other.states() == ["FAIL", "WAITING"]


def test_who_was_taken_for_dead_wrongly_does_no_harm(tmp_path: Path) -> None:
    slow, quick = Controller(tmp_path), Controller(tmp_path)
    job = of_a_dead_process(slow).trials.ask()
    quick.trials.look_after()
    job.status = "completed"
    job.folder.mkdir()
    (job.folder / "result.json").write_text(DONE)
    slow.trials._beaten -= 100
    slow.trials.look_after()
    slow.trials.tell(job)
    assert slow.states() == ["FAIL", "WAITING"]
