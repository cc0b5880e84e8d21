"""Console output before and after the training."""

import logging
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metalearn.formats import interval, percent, points, pretraining, queries, score, span
from metalearn.run.directory.checkpoint import Done
from metalearn.run.directory.published import published
from metalearn.run.directory.result import EpisodeSetting, Evaluation, Result

log = logging.getLogger(__name__)

# Lines may be long where no terminal limits them, in a log or a pipe. Paths and sources may hold
# square brackets, or a name between colons.
console = Console(width=None if sys.stdout.isatty() else 140, markup=False, emoji=False)


def say(line: str) -> None:
    """Prints a line, and writes it to the log of the run."""
    console.print(line, highlight=False)
    log.info(line)


def show_plan(config: dict[str, Any], result: Result, folder: Path, done: Done) -> None:
    """Prints the planned amount of training, and the shapes of the episodes."""
    trainer, tasks, devices = config["trainer"], result.tasks_per_batch, result.devices or 1
    steps, batches = trainer["max_steps"], trainer["accumulate_grad_batches"]
    left = [(steps - done.steps) * batches] if steps > 0 else []  # batches of each device
    if (epochs := trainer["max_epochs"]) > 0:
        left.append(epochs * trainer["limit_train_batches"] - done.batches)
    seen = f"{done.tasks + min(left) * tasks * devices:,}" if left else f"as many as {trainer['max_time']} allows"
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("parameters", f"{result.num_parameters:,}")
    if config["mode"] == "train":
        table.add_row("tasks per step", f"{tasks} x {devices} devices x {batches} batches")
        table.add_row("training episodes" if result.batch_size is None else "training batches", seen)
        table.add_row("trained on", trained_on(result.episode.train, result.batch_size))
        if config["train_split"]:
            table.add_row("", "meta-train and meta-val; nothing selects, the last weights are tested")
    table.add_row("tested on", shape(result.episode.test))
    console.print(table)
    show_folder(folder)


def show_folder(folder: Path) -> None:
    """Prints a run directory in a line of its own, so that it can be copied at any width.

    Its path is relative where it is below the current directory.
    """
    here = Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    console.print(f"run directory {shown}", highlight=False, soft_wrap=True)


def show_result(result: Result, folder: Path) -> None:
    """Prints the score with its interval, how it was measured, and the run directory."""
    measured = result.measured("test")
    assert result.test is not None
    assert measured is not None
    name, estimate = measured
    words = "accuracy" if name == "accuracy" else "mean squared error"
    table = Table(title=f"{result.algorithm} on {result.dataset}", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(f"meta-test {words}", Text(interval(measured), style="bold"))
    way = result.episode.test.way
    # Accuracies of episodes are float32, in which a fifth is 0.200000003.
    if name == "accuracy" and isinstance(way, int) and estimate.mean - estimate.ci95 <= 1 / way + 1e-6:
        table.add_row("chance", f"{percent(1 / way)} %: the accuracy may be no better")
    _add_details(table, result.test, shape(result.episode.test))
    for setting, other in (result.evaluations or {}).items():
        if other.measured is not None:
            table.add_row(f"tested on {setting}", interval(other.measured))
    if result.further is not None:
        for score_name, found in result.further.scores.items():
            title = f"{result.further.name}: {score_name.replace('_', ' ')}"
            table.add_row(title, f"{percent(found.mean)} ± {percent(found.ci95)} %")
    if result.test_dataset != result.dataset:
        table.add_row("tested on", result.test_dataset)
    _add_training(table, result)
    table.add_row("batch norm", f"{result.batch_norm} ({'transductive' if result.transductive else 'inductive'})")
    if val := result.measured("val"):
        table.add_row(f"meta-val {words}", f"{interval(val)}, step {result.best_step}")
    if (record := published(result)) and (number := record.number(name)) is not None:
        table.add_row("published", f"{score(name, number)}  {record.source or 'no source'}")
    console.print(table)
    show_folder(folder)


def _add_details(table: Table, test: Evaluation, shape_of_test: str) -> None:
    """Adds rows on details of the score."""
    assert test.measured is not None
    name, estimate = test.measured
    if test.by_step:
        table.add_row("after inner steps 0, 1, ...", "  ".join(score(name, mean) for mean in test.by_step))
    if test.accuracy_by_instance is not None:
        row = "  ".join(map(percent, test.accuracy_by_instance))
        table.add_row("at the 1st, 2nd, 5th, 10th of a class", f"{row} %")
    table.add_row("episodes", f"{estimate.num_episodes} of {shape_of_test}")
    if (error := test.error) is not None:
        bounds = f"{percent(error.low)} to {percent(error.high)} %"
        table.add_row("error", f"{percent(error.mean)} % of {error.num_trials} trials, 95 %: {bounds}")
    if test.calibration_error is not None:
        table.add_row("calibration error", f"{percent(test.calibration_error)} %")
    if test.nll is not None:
        table.add_row("negative log-likelihood", interval(("nll", test.nll)))
    if test.coverage is not None:
        table.add_row("targets in 95 % intervals", f"{percent(test.coverage.mean)} %")


def _add_training(table: Table, result: Result) -> None:
    """Adds rows on where the tested weights come from."""
    elsewhere = f"{result.trained_dataset}, " if result.trained_dataset not in (None, result.dataset) else ""
    trained = trained_on(result.episode.train, result.batch_size) if result.steps != 0 else "nothing: 0 steps"
    both = result.train_split is not None and result.steps != 0
    table.add_row("trained on", elsewhere + trained + (", on meta-train and meta-val" if both else ""))
    if result.trained_with:
        table.add_row("trained with", ", ".join(result.trained_with))
    if both:
        last = "the last" if result.best_step == result.steps else "the last with a finite loss"
        table.add_row("tested weights", f"{last}, step {result.best_step}: no meta-val is left to select")
    if result.pretrained:
        table.add_row("pretrained", result.pretrained)
    if result.pretrained_on:
        table.add_row("pretrained on", pretraining(result.pretrained_on, result.seen_in_pretraining))


def trained_on(episode: EpisodeSetting, batch_size: int | None) -> str:
    return shape(episode) if batch_size is None else f"{batch_size} images of all base classes per batch"


def shape(episode: EpisodeSetting) -> str:
    mean = " on average" if episode.queries == "unequal" else ""
    asked = f"{queries(episode.query)} per class{mean}"
    if episode.shots == "meta_dataset":
        return f"{span(episode.way)}-way, shots by Meta-Dataset's rule, {asked}"
    if episode.way == 1:  # a regression with one output
        return points(episode.shot, episode.query)
    own = " of each class" if episode.shots == "unequal" else ""
    hard = ", hard classes" if episode.sampling == "hard" else ""
    return f"{span(episode.way)}-way {span(episode.shot)}-shot{own}, {asked}{hard}"
