"""What a search has found: a table of the best trials, and best.yaml."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import final

import yaml
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.markup import escape
from rich.table import Table

from metalearn.files import write_atomically
from metalearn.run.console import score
from metalearn.search.trials import Trials
from metalearn.sweep.jobs import Job
from metalearn.sweep.screen import COLOURS, Screen

NAME = "best.yaml"
SHOWN = 10


@final
class Findings:
    """What is said of the trials, and left in the folder of the search.

    Args:
        trials: of the study.
        score: name of what the study is to make good at meta-val, such as "accuracy".
        needed: what a run needs beside its overrides, such as --config-dir.
    """

    def __init__(self, trials: Trials, *, score: str, screen: Screen, folder: Path, needed: Sequence[str] = ()) -> None:
        self._needed = needed
        self._trials, self._score, self._screen, self._folder = trials, score, screen, folder

    def say_end(self, job: Job, *, again: bool) -> None:
        """One line for an attempt at a trial that has ended."""
        words = (
            f"trial {job.folder.name} [{COLOURS.get(job.status, 'default')}]{job.status}[/] in {job.seconds or 0:.0f} s"
        )
        if job.status == "failed":
            words += f" ({escape(self._screen.reason(job))}): {escape(str(job.log))}" + (
                ", once again" if again else ""
            )
        elif job.finished and (val := job.score("val")):
            words += f"  {score(self._score, val.estimate.mean)}"
        self._screen.say(f"{words}  [dim]{escape(self._screen.label(job))}[/]")

    def table(self) -> None:
        """The best trials with their parameters, and how the others have ended."""
        completed = self._sorted()
        pruned, failed = self._trials.all(TrialState.PRUNED), self._trials.failed()
        table = Table(title=f"the best trials by {self._score} at meta-val", title_justify="left")
        for name in ("trial", self._score, *(completed[0].params if completed else ())):
            table.add_column(name, justify="right", overflow="fold")
        for trial in completed[:SHOWN]:
            assert trial.value is not None
            values = [
                f"{value:.4g}" if isinstance(value, float) else escape(str(value)) for value in trial.params.values()
            ]
            table.add_row(self._trials.folder(trial).name, score(self._score, trial.value), *values)
        if completed:
            self._screen.draw(table)
        counts = f"{len(completed)} completed, {len(pruned)} pruned, {len(failed)} failed"
        self._screen.say(f"{len(completed) + len(pruned)} of {self._trials.n_trials} trials: {counts}")
        for trial in failed[-SHOWN:]:
            folder = self._trials.folder(trial)
            self._screen.say(f"trial {folder.name} failed: {escape(str(folder / 'stdout.log'))}")

    def write(self) -> None:
        """best.yaml: the best trial, with the command that repeats it."""
        completed = self._sorted()
        if not completed:
            return
        best = completed[0]
        overrides = self._trials.overrides(best)
        command = shlex.join(["python", "-m", "metalearn", *self._needed, *overrides])
        content = {
            "trial": best.number,
            "directory": self._trials.folder(best).name,
            f"val_{self._score}": best.value,
            "parameters": dict(best.params),
            "overrides": overrides,
            "command": command,
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)
        write_atomically(self._folder / NAME, lambda file: file.write(text.encode()))
        self._screen.say(f"the best: {escape(command)}")

    def _sorted(self) -> list[FrozenTrial]:
        sign = -1 if self._trials.study.direction == StudyDirection.MAXIMIZE else 1
        return sorted(self._trials.all(TrialState.COMPLETE), key=lambda trial: sign * (trial.value or 0.0))
