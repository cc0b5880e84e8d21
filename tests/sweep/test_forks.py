"""Jobs that are forked from a server, which other processes may kill or signal at any time."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from sweeping import wait_for

from metalearn.sweep import forks
from metalearn.sweep.forks import ForkedProcess

Start = Callable[[str], ForkedProcess]
WORK = forks._work

DYING = """
import os, pathlib, time
if {condition}:
    pathlib.Path({mark!r}).touch()
    os.closerange(3, 100)  # its listener too
    time.sleep(0.3)
    os._exit(1)
"""
"""A module of a server that refuses connections before it is gone, as a killed one does."""

SIGNALLED = """
import os, signal
for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    os.kill(os.getpid(), sent)
"""


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts jobs that wait for a file, from a server of this test alone, which imports little."""
    server, processes = forkserver.ForkServer(), []
    for name in ("ensure_running", "connect_to_new_process", "set_forkserver_preload"):
        monkeypatch.setattr(forkserver, name, getattr(server, name))
    monkeypatch.setattr(forkserver, "_forkserver", server)
    monkeypatch.setattr(forks, "_work", wait_for_a_file)
    monkeypatch.setattr(forks, "PRELOADED", ["metalearn.sweep.forks"])

    def call(name: str) -> ForkedProcess:
        log = tmp_path / name
        with log.open("a") as held:
            processes.append(ForkedProcess(["--version"], log=log, environment=environment, held=held))
        return processes[-1]

    yield call
    for process in processes:
        process.send(signal.SIGKILL)
    server._stop()


def wait_for_a_file(arguments: list[str], log: Path, environment: dict[str, str], held: int) -> None:
    os.setsid()
    log.with_suffix(".ready").touch()
    while not log.with_suffix(".go").exists():
        time.sleep(0.01)
    log.with_suffix(".done").touch()


def preload(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the server import a module first."""
    (folder / "imported_first.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(forks, "PRELOADED", ["imported_first", *forks.PRELOADED])


def test_jobs_survive_the_death_of_their_fork_server(start: Start, tmp_path: Path) -> None:
    """Lets a running job finish; the next job has a new server."""
    processes = []
    for name in "ab":
        processes.append(start(name))
        wait_for((tmp_path / f"{name}.ready").exists)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        time.sleep(0.1)
        assert processes[-1].exit_code() is None
    for name, process in zip("ab", processes, strict=True):
        (tmp_path / f"{name}.go").touch()
        wait_for(lambda process=process: process.exit_code() is not None)
        assert "the server that forks jobs has died" in str(process.exit_code())
        assert (tmp_path / f"{name}.done").exists()


def test_a_dying_server_is_replaced_when_it_is_gone(start: Start, tmp_path: Path, monkeypatch) -> None:
    mark = str(tmp_path / "died")
    preload(DYING.format(condition=f"not os.path.exists({mark!r})", mark=mark), tmp_path, monkeypatch)
    (tmp_path / "a.go").touch()
    process = start("a")
    wait_for(lambda: process.exit_code() is not None)
    assert process.exit_code() == 0
    assert Path(mark).exists()


def test_servers_that_all_die_are_reported_in_one_line(start: Start, tmp_path: Path, monkeypatch) -> None:
    preload(DYING.format(condition=True, mark=str(tmp_path / "died")), tmp_path, monkeypatch)
    with pytest.raises(ConnectionError, match=r"no job could be forked in 4 tries \(.+\): repeat .*preload=false$"):
        start("a")


def test_signals_to_its_group_end_jobs_and_no_server(start: Start, tmp_path: Path, monkeypatch) -> None:
    """Signals a server as it starts, and a job that may have no process group of its own yet."""
    preload(SIGNALLED, tmp_path, monkeypatch)
    monkeypatch.setattr(forks, "_work", WORK)
    process = start("a")
    process.send(signal.SIGTERM)
    wait_for(lambda: process.exit_code() is not None)
    assert process.exit_code() == -signal.SIGTERM
