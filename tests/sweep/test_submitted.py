"""Every controller knows the jobs in a queue."""

import json
import os
from pathlib import Path

import pytest

from metalearn.sweep import submitted
from metalearn.sweep.jobs import Job
from metalearn.sweep.slurm import queue
from metalearn.sweep.submitted import Submitted


def test_a_submitted_job_whose_controller_is_gone_is_not_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covers jobs that wait in the queue for days, without a lock in their directory."""
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\ncat {tmp_path}/queue\n")
    squeue.chmod(0o755)
    (tmp_path / "queue").write_text("12_3\n13\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(queue, "slurm", queue.SlurmQueue())
    monkeypatch.setattr(queue.SlurmQueue, "SOON", 0.0)
    monkeypatch.setattr(queue.SlurmQueue, "INTERVAL", 0.0)
    waits, ended, never = (Job(i, [], tmp_path / str(i)) for i in range(3))
    for job, job_id in ((waits, "12_3"), (ended, "12_4"), (never, None)):
        job.folder.mkdir()
        if job_id:
            submitted.note(job.folder, Submitted("slurm", job_id))
    assert [job.is_at_work_elsewhere() for job in (waits, ended, never)] == [True, False, False]
    squeue.write_text("#!/bin/sh\nexit 1\n")  # SLURM's controller restarts: the queue is unknown
    assert waits.is_at_work_elsewhere()
    squeue.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="no squeue here"):
        waits.is_at_work_elsewhere()


@pytest.mark.parametrize("content", ["[1]", "null", '{"cluster": "slurm"}'])
def test_a_record_that_names_no_job_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / submitted.NAME).write_text(content)
    assert submitted.read(tmp_path) is None


def test_a_record_of_a_newer_version_names_its_job(tmp_path: Path) -> None:
    submitted.note(tmp_path, Submitted("slurm", "12"))
    written = json.loads((tmp_path / submitted.NAME).read_text())
    (tmp_path / submitted.NAME).write_text(json.dumps({**written, "new": 0}))
    assert submitted.read(tmp_path) == Submitted("slurm", "12")


def test_a_record_is_written_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted.note(tmp_path, Submitted("slurm", "12"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception, match="killed"):
        submitted.note(tmp_path, Submitted("slurm", "13"))
    assert submitted.read(tmp_path) == Submitted("slurm", "12")
