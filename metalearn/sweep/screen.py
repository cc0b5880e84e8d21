"""Screen of a sweep: live lines of running jobs, a line for each ended job, and a table."""

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Self, final

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from metalearn.formats import interval
from metalearn.sweep.jobs import Attempt, Job, shared
from metalearn.sweep.logs import last_line

COLOURS = {"completed": "green", "pruned": "cyan", "failed": "red", "interrupted": "yellow"}
REFRESH = 0.5  # seconds
SCORES = {"accuracy": "accuracy", "mse": "squared error"}


@final
class Screen:
    """Context in which the jobs of a sweep are shown.

    Args:
        jobs: jobs of the sweep; a search adds its jobs to the list later.
        common: overrides that are not shown with each job; None for all that the jobs share now.
    """

    def __init__(self, jobs: Sequence[Job], *, common: Iterable[str] | None = None) -> None:
        self.jobs = jobs
        self.console = make_console()
        self._common = shared(jobs) if common is None else set(common)
        self._live: Live | None = None
        self._shown = 0.0
        self._refusals: dict[str, int] = {}  # first job of each reason

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def label(self, job: Job) -> str:
        """Returns the overrides by which the job differs from the others."""
        return " ".join(override for override in job.overrides if override not in self._common)

    def reason(self, job: Job) -> str:
        """Returns why it has failed; a second job with one refusal refers to the first."""
        first = self._refusals.setdefault(job.reason, job.number)
        return job.reason if first == job.number or not job.reason.startswith("refused") else f"refused as job {first}"

    def say(self, line: str, *, markup: bool = False) -> None:
        """Prints a line; square brackets are markup of rich only if `markup` says so."""
        with suppress(OSError):  # a full disk behind `> log` must not end the sweep
            self.console.print(line, markup=markup, emoji=False, highlight=False, soft_wrap=True)

    def draw(self, table: Table) -> None:
        with suppress(OSError):
            self.console.print(table)

    def say_end(self, name: str, job: Job, scores: str, *, again: bool) -> None:
        """Prints a line for an attempt that has ended, with its scores unless it has failed."""
        words = f"{name} [{COLOURS.get(job.status, 'default')}]{job.status}[/]"
        words += f" in {job.seconds:.0f} s" if job.seconds is not None else ""
        if job.status == "failed":
            words += f" ({escape(self.reason(job))}): {escape(str(job.log))}" + (", once again" if again else "")
        elif scores:
            words += f"  {scores}"
        self.say(f"{words}  [dim]{escape(self.label(job))}[/]", markup=True)

    def show(self, running: Sequence[Attempt], *, pending: int, elsewhere: int) -> None:
        """Updates the live lines, if there is a terminal."""
        if self._live is None or time.monotonic() - self._shown < REFRESH:
            return
        self._shown = time.monotonic()
        table = Table.grid(padding=(0, 2), expand=True)
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, max_width=self.console.width // 3)
        table.add_column(no_wrap=True, ratio=1)
        for attempt in running:
            job = attempt.job
            place, output = ",".join(attempt.places), last_line(job.log)
            texts = (f"job {job.number}", f"on {place}", clock(attempt.seconds), self.label(job), output)
            table.add_row(*map(escape, texts))
        failed = sum(job.status == "failed" for job in self.jobs)
        counts = f"{sum(job.finished for job in self.jobs)} of {len(self.jobs)} finished"
        counts += f", {failed} failed" if failed else ""
        counts += f", {pending} waiting" if pending else ""
        counts += f", {elsewhere} run by another process" if elsewhere else ""
        self._live.update(Group(table, f"[bold]{counts}[/]"), refresh=True)

    def table(self) -> None:
        """Prints all jobs, and the logs of the failed ones."""
        if self._common:
            common = " ".join(override for override in self.jobs[0].overrides if override in self._common)
            self.say(f"[dim]all: {escape(common)}[/]", markup=True)
        table = Table()
        tests = [job.score("test") for job in self.jobs if job.finished]
        scored = dict.fromkeys(SCORES[test.name] for test in tests if test is not None)
        for name in ("job", "overrides", "status", " or ".join(scored or SCORES.values()), "seconds"):
            table.add_column(name, justify="right" if name in ("job", "seconds") else "left", overflow="fold")
        for job in self.jobs:
            status = f"{job.status} before" if job.before else job.status
            status += f" ({escape(self.reason(job))})" if job.reason else ""
            colour = COLOURS.get(job.status, "default")
            seconds = f"{job.seconds:.0f}" if job.seconds is not None else ""
            table.add_row(str(job.number), escape(self.label(job)), f"[{colour}]{status}[/]", score(job), seconds)
        self.draw(table)
        for job in self.jobs:
            if job.status == "failed":
                self.say(f"log of job {job.number}: {job.log}")


def make_console() -> Console:
    """Returns a console whose lines may be long in a log or a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def score(job: Job) -> str:
    """Returns the score on meta-test with its interval, where the job has finished with one."""
    test = job.score("test") if job.finished else None
    return interval(test) if test is not None else ""


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
