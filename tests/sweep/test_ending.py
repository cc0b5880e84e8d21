"""The report at the end of a sweep."""

import os
from pathlib import Path

from run_folders import leave, result

from metalearn.sweep.ending import report
from metalearn.sweep.jobs import Job


def test_the_page_is_written_when_a_job_has_a_newer_result(tmp_path: Path) -> None:
    jobs = [Job(i, [f"seed={i}"], leave(tmp_path / str(i), result(0.8, seed=i))) for i in range(2)]
    page = tmp_path / "report.html"
    assert report(tmp_path, jobs) == f"report: {page}"
    assert "prototypical" in page.read_text()
    page.write_text("kept")
    assert report(tmp_path, jobs) == f"report: {page}"
    assert page.read_text() == "kept"
    later = page.stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "1/result.json", ns=(later, later))
    report(tmp_path, jobs)
    assert page.read_text() != "kept"


def test_a_sweep_without_a_result_has_no_page(tmp_path: Path) -> None:
    assert report(tmp_path, [Job(0, [], tmp_path / "0")]) == f"no report: there is no result.json below {tmp_path}"
    assert not (tmp_path / "report.html").exists()
