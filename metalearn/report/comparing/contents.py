"""The contents of a report, read from some folders."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metalearn.report.comparing.comparison import Comparison, compare
from metalearn.report.comparing.heading import Heading, heading
from metalearn.report.comparing.paired import Pairs, pairs
from metalearn.report.reading import searches
from metalearn.report.reading.runs import Run, find
from metalearn.report.reading.searches import Search, Trial


@dataclass(frozen=True)
class Contents:
    """Compared runs and searches.

    The comparison has only one trial of a search: the best at meta-val. Otherwise the best of many
    trials at meta-test would be first, partly by luck.
    """

    heading: Heading
    runs: list[Run]  # all runs that started, with trials, each once
    comparison: Comparison
    groups: list[Pairs]
    searches: list[Search]
    unread: list[str]  # a line for each unreadable study; its trials are compared like other runs
    failed: list[Run]  # failed trials
    unfinished: list[Path]  # run directories without a result
    refused: list[Run]  # runs that never started
    damaged: list[str]  # a line for each file that cannot be read

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not (self.comparison.cells or self.comparison.apart or self.searches or self.failed)


def read(folders: Iterable[Path]) -> Contents:
    """Reads all runs below some folders. Raises FileNotFoundError for one without a result."""
    folders = list(folders)
    found = find(folders)
    readable, unread = list[Search](), list[str]()
    for folder in found.searches:
        try:
            readable.append(searches.read(folder))
        except (OSError, ValueError) as error:
            unread.append(str(error))
    trials = {trial.folder.resolve(): trial for search in readable for trial in search.trials}
    best = [search.best for search in readable]
    compared, failed, refused = list[Run](), list[Run](), list[Run]()
    started = [run for run in found.runs if not run.never_started and not run.setting]
    for run in found.runs:
        trial = _trial(run.folder, trials)
        if run.never_started:
            refused.append(run)
        elif trial is None or trial in best:
            compared.append(run)
        elif trial.state == "failed" and not run.setting:
            failed.append(run)
    left = [path for path in found.unfinished if (trial := _trial(path, trials)) is None or trial.state == "failed"]
    comparison = compare(compared)
    damaged = [*found.damaged, *(line for run in compared for line in run.damage)]
    return Contents(
        heading(folders, started),
        started,
        comparison,
        pairs(comparison),
        readable,
        unread,
        failed,
        left,
        refused,
        damaged,
    )


def _trial(run: Path, trials: Mapping[Path, Trial]) -> Trial | None:
    """Returns the trial of a run, which may be one of its seeds."""
    folder = run.resolve()
    return trials.get(folder) or trials.get(folder.parent)
