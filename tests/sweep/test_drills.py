"""Small versions of the drills of scripts/drills."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY


def test_a_sweep_under_load_finishes_each_job_once(environment: dict[str, str]) -> None:
    drill = [sys.executable, str(REPOSITORY / "scripts/drills/load.py"), "--jobs=6", "--kills=0.17", "--restarts=1"]
    done = subprocess.run([*drill, "--limit=600"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| jobs finished exactly once | 6 |" in done.stdout
    assert "| processes left | 0 |" in done.stdout


def test_workers_of_one_directory_run_each_job_once(environment: dict[str, str]) -> None:
    drill = [sys.executable, str(REPOSITORY / "scripts/drills/workers.py"), "--workers=2", "--jobs=4", "--kills=1"]
    done = subprocess.run([*drill, "--limit=600"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| jobs completed | 4 |" in done.stdout


def test_a_drill_kills_no_worker_where_none_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts/drills"))
    import workers

    class Worker:
        """Worker that has failed before the drill looks, and ends well in its second life."""

        def __init__(self, command: list[str]) -> None:
            self.lives, self.process = 1, SimpleNamespace(returncode=1, poll=lambda: 1)

        def start(self) -> None:
            self.lives, self.process = 2, SimpleNamespace(returncode=0, poll=lambda: 0)

        def left(self) -> list[int]:
            return []

        def kill(self) -> None:
            pass

    for job in range(2):
        (tmp_path / str(job)).mkdir()
        for name in ("result.json", "stdout.log"):
            (tmp_path / f"{job}/{name}").touch()
    monkeypatch.setattr(workers, "Worker", Worker)
    monkeypatch.setattr(workers.standing, "read", lambda sweep: [])
    figures = workers.run(tmp_path, workers=1, jobs=2, kills=1, seed=0, limit=60)
    assert (figures["workers killed (SIGKILL)"], figures["commands until the end"]) == (0, 2)
