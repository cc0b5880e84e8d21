"""`metalearn` as one word with subcommands."""

import errno
import os
import sys

import pytest

from metalearn import __main__ as command


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    """Types a command; returns the program that starts and its arguments."""

    def call(line: str) -> tuple[str, list[str]]:
        started = []
        monkeypatch.setattr(sys, "argv", ["metalearn", *line.split()])
        monkeypatch.setattr(command.streams, "make_unbreakable", lambda: None)
        monkeypatch.setattr(command.runpy, "run_module", lambda name, **_: started.append(name))
        monkeypatch.setattr(command, "compose_or_refuse", lambda: started.append("a run"))
        command.main()
        (program,) = started
        return program, sys.argv[1:]

    return call


@pytest.mark.parametrize(
    ("line", "program", "arguments"),
    [
        ("seed=1", "a run", ["seed=1"]),
        ("train seed=1", "a run", ["seed=1"]),
        ("train", "a run", []),
        ("test checkpoint=x", "a run", ["mode=test", "checkpoint=x"]),
        ("help", "a run", ["--help"]),
        ("version", "a run", ["--version"]),
        ("sweep seed=0,1", "a run", ["-m", "seed=0,1"]),
        ("sweep --config-dir c seed=0,1", "a run", ["-m", "--config-dir", "c", "seed=0,1"]),
        ("sweep hparams_search=maml_glyphs", "a run", ["-m", "hparams_search=maml_glyphs"]),
        ("sweep ~logger seed=0,1", "a run", ["-m", "~logger", "seed=0,1"]),
        ("report DIR --write out", "metalearn.report", ["DIR", "--write", "out"]),
        ("predict RUN", "metalearn.predict", ["RUN"]),
        ("export RUN f.onnx", "metalearn.export", ["RUN", "f.onnx"]),
        ("sweep status DIR", "metalearn.sweep", ["status", "DIR"]),
        ("sweep retry a=b", "metalearn.sweep", ["retry", "a=b"]),
        ("sweep --help", "metalearn.sweep", ["--help"]),
        ("sweep", "metalearn.sweep", []),
    ],
)
def test_subcommands(typed, line: str, program: str, arguments: list[str]) -> None:
    assert typed(line) == (program, arguments)


def test_a_subcommand_is_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["metalearn", "export", "--help"])
    monkeypatch.delitem(sys.modules, "metalearn.export.__main__", raising=False)  # other tests import it
    with pytest.raises(SystemExit, match="0"):
        command.main()
    assert "python -m metalearn.export" in capsys.readouterr().out


def test_an_interruption_before_a_run_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["metalearn", "seed=1"])
    monkeypatch.setattr(command.streams, "make_unbreakable", lambda: None)
    monkeypatch.setattr(command, "compose_or_refuse", interrupted)
    with pytest.raises(SystemExit) as exit:
        command.main()
    assert (exit.value.code, capsys.readouterr().err) == (130, "metalearn: interrupted\n")


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.ENOENT, 2)])
def test_a_full_disk_is_no_bad_input(monkeypatch: pytest.MonkeyPatch, capsys, number: int, code: int) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "study.log")

    monkeypatch.setattr(sys, "argv", ["metalearn"])
    monkeypatch.setattr(command, "compose_and_run", fail)
    monkeypatch.setattr(command.guard, "install", lambda: None)
    with pytest.raises(SystemExit) as ended:
        command.compose_or_refuse()
    assert ended.value.code == code
    assert "study.log" in capsys.readouterr().err
