"""Small versions of the drills of scripts/drills."""

import subprocess
import sys

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
