"""Atomic writing: complete files or none, for killed and for concurrent writers."""

import fcntl
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import nn

from metalearn import files
from metalearn.files import write_atomically

fork = multiprocessing.get_context("fork")


def in_another_process(function: Any, *arguments: Any) -> int | None:
    process = fork.Process(target=function, args=arguments)
    process.start()
    process.join(30)
    return process.exitcode


def write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "result [1].json"
    write(path, b"old")
    before = os.umask(0o022)
    try:
        write(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new" and names(tmp_path) == ["result [1].json"]
    assert path.stat().st_mode & 0o777 == 0o644  # other users of a cache may read it

    def fails(file: IO[bytes]) -> None:
        file.write(b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="^no more$"):
        write_atomically(path, fails)
    assert path.read_bytes() == b"new" and names(tmp_path) == ["result [1].json"]


def killed_while_writing(path: Path) -> None:
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
    write(path, b"half")


@pytest.mark.parametrize("lock", [fcntl.flock, fcntl.lockf], ids=["local", "NFS"])
def test_what_killed_writers_left_is_removed_by_the_next(tmp_path: Path, monkeypatch, lock) -> None:
    monkeypatch.setattr(fcntl, "flock", lock)
    path = tmp_path / "cache.npz"
    write(path, b"old")
    (tmp_path / ".cache.npz.mine").write_bytes(b"somebody's own")
    write(tmp_path / "cache.npz.json", b"another file")
    for _ in range(3):
        assert in_another_process(killed_while_writing, path) == -signal.SIGKILL
    assert path.read_bytes() == b"old" and len(names(tmp_path)) >= 4
    write(path, b"new")
    assert names(tmp_path) == [".cache.npz.mine", "cache.npz", "cache.npz.json"]
    assert path.read_bytes() == b"new"


def slowly(path: Path, number: int) -> None:
    os.getpid = lambda: 1  # equal pids, as in two containers
    os.fsync = lambda descriptor: time.sleep(0.2)
    write(path, bytes([number]) * 2000)


def test_writers_at_once_do_no_harm_to_each_other(tmp_path: Path) -> None:
    path = tmp_path / "cache.npz"
    writers = [fork.Process(target=slowly, args=(path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    content = path.read_bytes()
    assert len(content) == 2000 and len(set(content)) == 1 and names(tmp_path) == ["cache.npz"]


def on_a_small_disk(path: Path, writes: Callable[[IO[bytes]], Any]) -> None:
    sys.dont_write_bytecode = True  # Python would keep the first 1,000 bytes of what torch imports late
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    with pytest.raises(OSError, match=rf"File too large: '{path}'$"):
        write_atomically(path, writes)


def save_program(file: IO[bytes]) -> None:
    torch.export.save(torch.export.export(nn.Linear(100, 100), (torch.zeros(1, 100),)), file)


WRITERS = {
    "bytes": lambda file: file.write(bytes(100_000)),
    "torch.save": lambda file: torch.save(torch.zeros(100_000), file),
    "torch.export": save_program,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_the_file_before(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "result.json"
    write(path, b"old")
    assert in_another_process(on_a_small_disk, path, WRITERS[writer]) == 0
    assert path.read_bytes() == b"old" and names(tmp_path) == ["result.json"]
    with pytest.raises(FileNotFoundError, match=rf"No such file or directory: '{tmp_path}/nowhere/x'$"):
        write(tmp_path / "nowhere/x", b"")


def test_content_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def noted(name: str) -> None:
        call = getattr(os, name)
        monkeypatch.setattr(files.os, name, lambda *arguments: (steps.append(name), call(*arguments))[1])

    noted("fsync")
    noted("replace")
    write(tmp_path / "x", b"x")
    assert steps == ["fsync", "replace", "fsync"]
