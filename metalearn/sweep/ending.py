"""The end of a sweep: one page that compares its jobs, and what Hydra receives of each."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

from hydra.core.utils import JobReturn, JobStatus

from metalearn.run.directory.folder import RunFolder
from metalearn.sweep.jobs import Job, JobFailed

NAME = "report.html"


def report(sweep: Path, jobs: Iterable[Job]) -> str:
    """Writes the page where it lacks the result of a job; returns a line with its path."""
    page = sweep / NAME
    if not _is_current(page, jobs):
        from metalearn.report.export import write_page  # late: a sweep needs it at its end alone

        try:
            write_page(page, sweep)
        except (ValueError, OSError) as error:
            return f"no report: {error}"
    return f"report: {page}"


@final
class Ended(JobReturn):
    """Return of a job whose error is said once; Hydra's class prints the overrides before it."""

    @property
    def return_value(self) -> Any:
        if self.status == JobStatus.FAILED:
            raise self._return_value
        return self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


def returned(job: Job) -> JobReturn:
    """Returns the score at meta-val, as Hydra and a sweeper that searches expect it."""
    ended = Ended(overrides=job.overrides, working_dir=str(job.folder))
    if job.finished:
        ended.status = JobStatus.COMPLETED
        val = job.score("val")
        ended.return_value = val.estimate.mean if val else None
    elif job.status == "pending":  # it is left to a cluster
        ended.status, ended.return_value = JobStatus.COMPLETED, None
    else:
        ended.status = JobStatus.FAILED
        ended.return_value = JobFailed(f"job {job.number} failed ({job.reason}): see {job.log}")
    return ended


def _is_current(page: Path, jobs: Iterable[Job]) -> bool:
    """Returns whether no result is newer than the page."""
    if not page.is_file():
        return False
    results = (RunFolder(job.folder).result for job in jobs)
    newest = max((result.stat().st_mtime_ns for result in results if result.is_file()), default=0)
    return page.stat().st_mtime_ns > newest
