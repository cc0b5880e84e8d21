"""Runs without a reader of their output, or on a terminal with few characters, are unaffected."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import SMALL
from run_folders import leave, result


def test_a_run_outlives_the_reader_of_its_output(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "metalearn", *SMALL, f"hydra.run.dir={tmp_path}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=300) == 0
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "completed"


def test_a_closed_terminal_does_not_end_a_program(environment: dict[str, str]) -> None:
    program = "from metalearn.run.screen.streams import make_unbreakable; make_unbreakable(); print('unread')"
    terminal, output = os.openpty()
    os.close(terminal)
    done = subprocess.run([sys.executable, "-c", program], env=environment, stdout=output, stderr=-1, check=False)
    os.close(output)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_of_few_characters_gets_them_spelt(environment: dict[str, str]) -> None:
    program = "from metalearn.run.screen.streams import make_unbreakable; make_unbreakable(); print('1 ± 2')"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={**environment, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=True)
    assert done.stdout == b"1 \\xb1 2\n"


def test_a_report_on_such_a_terminal_spells_them_too(environment: dict[str, str], tmp_path: Path) -> None:
    leave(tmp_path / "run", result())
    command = [sys.executable, "-m", "metalearn.report", tmp_path]
    done = subprocess.run(command, env={**environment, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb" \xb1 " in done.stdout
