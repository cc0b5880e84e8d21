"""The endings of a job in a sweep, also on a full disk."""

import errno
import os
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from sweeping import DONE, Sweep

from metalearn.sweep.jobs import quoted
from metalearn.sweep.screen import Screen


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        ("kill -40 $$", "failed", "killed by signal 40"),  # real-time signal, which has no name
        ("kill -9 $$", "failed", "killed by SIGKILL"),
        (f"{DONE}; kill -2 $$", "completed", ""),  # killed during shutdown
        (f"{DONE}; exit 1", "completed", ""),
        ("echo '{' > result.json", "failed", "exit code 0, result.json cannot be read"),
        ("""echo '{"status": "failed", "error": "no luck"}' > result.json; exit 1""", "failed", "exit code 1, no luck"),
        ("echo before; echo 'metalearn: seed is -1'; exit 2", "failed", "refused: seed is -1"),
        ("exit 2", "failed", "refused: exit code 2"),
    ],
)
def test_the_status_of_a_job(tmp_path: Path, script: str, status: str, reason: str) -> None:
    sweep = Sweep(tmp_path, [script])
    assert sweep.run() is None
    job = sweep.jobs[0]
    assert (job.status, job.reason.replace(f"{job.folder}/", "").partition(": Expecting")[0]) == (status, reason)
    Screen(sweep.jobs).table()  # a damaged result does not stop the table


def test_what_several_jobs_are_refused_for_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep = Sweep(tmp_path, ["echo 'metalearn: there is no class'; exit 2"] * 3)
    sweep.run()
    printed = capfd.readouterr().out
    assert printed.count("there is no class") == 1
    assert printed.count("(refused as job 0)") == 2


def test_a_damaged_result_is_one_line_that_names_it(tmp_path: Path) -> None:
    job = Sweep(tmp_path, [DONE]).jobs[0]
    job.folder.mkdir()
    for content in ("", '{"status": ', "[]", "3", "{}", '{"status": 1}'):
        (job.folder / "result.json").write_text(content)
        with pytest.raises(ValueError, match=f"{job.folder}/result.json cannot be read: "):
            job.result()
    (job.folder / "result.json").write_text('{"status": "completed", "seconds": null}')
    job.look()
    assert (job.finished, job.seconds) == (True, 0)


def test_a_full_disk_behind_its_output_does_not_stop_a_sweep(tmp_path: Path, monkeypatch) -> None:
    sweep = Sweep(tmp_path, [DONE, DONE, "exit 1"])
    with (tmp_path / "stdout").open("w") as stdout:
        written: list[str] = []

        def write(text: str) -> None:
            if written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written.append(text)

        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(stdout, "write", write)
        assert sweep.run() is None
        Screen(sweep.jobs).table()
    assert sweep.statuses == ["completed", "completed", "failed"]
    assert len(written) == 1


def test_a_job_whose_directory_is_removed_ends_no_other(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, ['rm -r "$PWD"; exit 2', f"sleep 0.2; {DONE}"])
    assert sweep.run() is None
    assert sweep.statuses == ["failed", "completed"]


PATHS = [
    "it's",
    "a'b'",
    "x=1",
    "(v2)",
    "Vögel",
    "[/x]",
    "a,b",
    "a b ",
    "#1",
    "back\\slash",
    "end\\",
    "\\'",
    "${x}",
    "\\${x}",
]


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_the_same_after_hydras_grammar(name: str) -> None:
    override = OverridesParser.create().parse_override(f"hydra.run.dir={quoted(Path(name))}")
    config = OmegaConf.create({"dir": override.value(), "below": "${dir}/checkpoints"})
    assert config.dir == name
    assert config.below == f"{name}/checkpoints"
