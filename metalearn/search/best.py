"""Findings of a search: a table of the best trials, and files for the next run and the report."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import yaml
from optuna.trial import FrozenTrial, TrialState
from rich.markup import escape
from rich.table import Table

from metalearn.files import write_text
from metalearn.formats import csv_text, number_of
from metalearn.run.command.grammar import quoted, value
from metalearn.run.trials.trial import counted
from metalearn.search.experiment import as_experiment
from metalearn.search.trials import Trials
from metalearn.sweep.jobs import Job
from metalearn.sweep.screen import Screen

NAME = "best.yaml"
EXPERIMENT = "experiment/best.yaml"
PARETO = "pareto.csv"
SHOWN = 10


@final
class Findings:
    """The report of a search on its screen, and in its folder.

    Args:
        trials: trials of the study.
        needed: arguments that a run needs beside its overrides, such as --config-dir.
        is_group: whether a key names a group of the config.
    """

    def __init__(
        self,
        trials: Trials,
        *,
        screen: Screen,
        folder: Path,
        needed: Sequence[str] = (),
        is_group: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._trials, self._screen, self._folder = trials, screen, folder
        self._needed, self._is_group = needed, is_group
        self._objectives = trials.objectives

    def say_end(self, job: Job, *, again: bool) -> None:
        """Prints a line for an attempt that has ended."""
        name = job.folder.relative_to(self._folder)
        values = ((objective, objective.value(job)) for objective in self._objectives if job.finished)
        scores = "  ".join(objective.text(value) for objective, value in values if value is not None)
        self._screen.say_end(f"trial {name}", job, scores, again=again)

    def table(self) -> None:
        """Prints the best trials with their parameters, and how the others have ended."""
        completed = self._best_first()
        pruned, failed = self._trials.all(TrialState.PRUNED), self._trials.failed()
        if completed:
            self._screen.draw(self._table(self._front() if len(self._objectives) > 1 else completed[:SHOWN]))
        counts = f"{len(completed)} completed, {len(pruned)} pruned, {len(failed)} failed"
        finished = len(completed) + len(pruned)
        of_all = number_of(max(finished, self._trials.n_trials), "trial")
        self._screen.say(f"{finished} of {of_all}: {counts}")
        queued = len(self._trials.all(TrialState.WAITING))
        if queued and finished >= self._trials.n_trials:
            remedy = f"hydra.sweeper.n_trials={finished + queued} runs them"
            self._screen.say(f"queued trials, such as start points, that have not run: {queued}; {remedy}")
        for trial in failed[-SHOWN:]:
            job = self._trials.runs(trial).looked().first_incomplete
            why = f" ({job.reason})" if job.reason else ""
            self._screen.say(f"trial {self._trials.folder(trial).name} failed{why}: {job.log}")

    def write(self) -> None:
        """Writes the best trial, or all trials with their place on the Pareto front."""
        completed = self._best_first()
        if not completed:
            return
        if len(self._objectives) > 1:
            self._write_pareto(completed)
        else:
            self._write_best(completed[0])

    def _table(self, trials: Sequence[FrozenTrial]) -> Table:
        if len(self._objectives) > 1:
            title = "the Pareto front: no other trial is as good in all objectives and better in one"
        else:
            title = f"the best trials by {self._objectives[0].name} at meta-{self._objectives[0].split}"
        if self._trials.seeds:
            title += f", means over {number_of(len(self._trials.seeds), 'seed')}"
        table = Table(title=title, title_justify="left")
        names = list(trials[0].params)
        for name in ("trial", *(objective.name for objective in self._objectives), *names):
            table.add_column(name, justify="right", overflow="fold")
        for trial in trials:
            numbers = [objective.text(value) for objective, value in zip(self._objectives, trial.values, strict=True)]
            params = (trial.params[name] for name in names)  # trials of another command have them in another order
            values = [f"{value:.4g}" if isinstance(value, float) else escape(str(value)) for value in params]
            table.add_row(self._trials.folder(trial).name, *numbers, *values)
        return table

    def _write_best(self, best: FrozenTrial) -> None:
        """Writes the facts of the best trial, and the experiment that repeats it."""
        overrides, seeds = self._trials.overrides(best), self._trials.seeds
        objective = self._objectives[0]
        seeded = [*overrides, f"seed={seeds[0]}"] if seeds else overrides
        command = shlex.join(["python", "-m", "metalearn", *self._needed, *seeded])
        content = {
            "trial": best.number,
            "directory": self._trials.folder(best).name,
            f"{objective.split}_{objective.name}": best.value,
            **({"seeds": seeds} if seeds else {}),
            "parameters": {name: value(f"{name}={param}") for name, param in best.params.items()},  # a choice is a text
            "overrides": overrides,
            "command": command,
        }
        write_text(self._folder / NAME, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000))
        self._screen.say(f"the best: {command}")
        try:
            body = as_experiment(overrides, self._is_group)
        except ValueError as error:
            self._screen.say(str(error))
            return
        # Hydra takes one --config-dir, which may be that of own parts.
        by_path = f"hydra.searchpath=[{quoted(f'file://{self._folder.resolve()}')}]"
        place = [by_path] if "--config-dir" in self._needed else ["--config-dir", str(self._folder)]
        call = ["python", "-m", "metalearn", *self._needed, *place, "experiment=best"]
        head = f"# @package _global_\n# Best trial of a search. To run it: {shlex.join(call)}\n"
        (self._folder / EXPERIMENT).parent.mkdir(exist_ok=True)
        write_text(self._folder / EXPERIMENT, head + body)
        self._screen.say(f"as an experiment: {shlex.join(call)}")

    def _write_pareto(self, completed: Sequence[FrozenTrial]) -> None:
        front = {trial.number for trial in self._front()}
        names = list(dict.fromkeys(name for trial in completed for name in trial.params))
        rows: list[list[Any]] = [["trial", "on_front", *(objective.name for objective in self._objectives), *names]]
        for trial in completed:
            params = (trial.params.get(name) for name in names)
            rows.append([self._trials.folder(trial).name, int(trial.number in front), *trial.values, *params])
        write_text(self._folder / PARETO, csv_text(rows))
        self._screen.say(f"all completed trials: {self._folder / PARETO}")

    def _best_first(self) -> list[FrozenTrial]:
        """Returns the completed trials by their first objective; equal ones as they began."""
        completed = [trial for trial in counted(self._trials.all()) if trial.state == TrialState.COMPLETE]
        return sorted(completed, key=lambda trial: trial.values[0], reverse=self._objectives[0].direction == "maximize")

    def _front(self) -> list[FrozenTrial]:
        best = {trial.number for trial in self._trials.study.best_trials}
        return [trial for trial in self._best_first() if trial.number in best]
