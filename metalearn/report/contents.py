"""All that a report says, read from some folders."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metalearn.report import searches
from metalearn.report.comparison import Comparison, compare
from metalearn.report.paired import Pairs, pairs
from metalearn.report.runs import Run, find
from metalearn.report.searches import Search, Trial


@dataclass(frozen=True)
class Contents:
    """Runs compared, and searches. A search is in the comparison with its best trial at meta-val alone.

    Else the best of many trials at meta-test would stand first, which is chosen by what it is to be judged by.
    """

    comparison: Comparison
    groups: list[Pairs]
    searches: list[Search]
    unread: list[str]  # why the studies of other searches could not be read; their trials are compared like other runs
    failed: list[Run]  # trials
    unfinished: list[Path]  # run directories without a result
    refused: list[Run]  # that never started
    damaged: list[str]  # a line for each file that cannot be read

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not (self.comparison.cells or self.comparison.apart or self.searches or self.failed)


def read(folders: Iterable[Path]) -> Contents:
    """Raises FileNotFoundError when a folder holds no result."""
    found = find(folders)
    known, unread = list[Search](), list[str]()
    for folder in found.searches:
        try:
            known.append(searches.read(folder))
        except (OSError, ValueError) as error:
            unread.append(str(error))
    trials = {trial.folder.resolve(): trial for search in known for trial in search.trials}
    best = {search.best.folder.resolve() for search in known if search.best}
    compared, failed, refused = list[Run](), list[Run](), list[Run]()
    for run in found.runs:
        folder = run.folder.resolve()
        if folder.parent in trials:  # one of the seeds of a trial
            folder = folder.parent
        if run.never_started:
            refused.append(run)
        elif folder not in trials or folder in best:
            compared.append(run)
        elif trials[folder].state == "failed" and not run.setting:
            failed.append(run)
    left = [path for path in found.unfinished if (of := _trial(path, trials)) is None or of.state == "failed"]
    comparison = compare(compared)
    damaged = [*found.damaged, *(line for run in compared for line in run.damage)]
    return Contents(comparison, pairs(comparison), known, unread, failed, left, refused, damaged)


def _trial(run: Path, trials: Mapping[Path, Trial]) -> Trial | None:
    """Returns the trial of a run, which may be one of its seeds."""
    folder = run.resolve()
    return trials.get(folder) or trials.get(folder.parent)
