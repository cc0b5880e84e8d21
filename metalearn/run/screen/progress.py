"""The progress of a training or a test: a bar on a terminal, else lines at intervals."""

import logging
import time
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from metalearn.episodes.loaders import AbstractEpisodes, batches_done
from metalearn.estimates import SIGNS
from metalearn.formats import rate, score, span
from metalearn.run.screen.console import console
from metalearn.training.schedules import steps_done
from metalearn.types import Split

log = logging.getLogger(__name__)


class ProgressBar(pl.Callback):
    """Shows loss, accuracy, episodes per second and remaining time, as a bar or as lines.

    Lightning's RichProgressBar counts batches of an epoch. It knows neither steps nor a time limit,
    and writes no lines to a log.

    Args:
        seconds_between_lines: interval in seconds, if the output is not a terminal.

    Examples:
        >>> bar = ProgressBar(seconds_between_lines=60)
        >>> trainer = pl.Trainer(callbacks=[bar], enable_progress_bar=False, logger=False)
    """

    def __init__(self, seconds_between_lines: float = 15.0) -> None:
        self.console = console
        self.seconds_between_lines = seconds_between_lines
        self._bar: Progress | None = None
        self._numbers: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # The step of a resumption is known only now, and not yet in `on_fit_start`.
        self._began = self._last_line = time.monotonic()
        self._first_step, self._first_batch = trainer.global_step, batches_done(trainer)
        self._open(trainer, "training")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        now = time.monotonic()
        line_due = self._bar is None and now - self._last_line >= self.seconds_between_lines
        bar_due = self._bar is not None and now - self._last_line >= 0.2
        if trainer.is_global_zero and (line_due or bar_due):
            self._last_line = now
            self._show(trainer, now)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._update(description="validating")

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for name in SIGNS:
            if (value := trainer.callback_metrics.get(f"val/{name}")) is not None and trainer.is_global_zero:
                self._numbers["val"] = float(value)
                line = f"step {trainer.global_step}: meta-val {name} {score(name, float(value))}"
                self.console.print(line)
                log.info(line)
        self._update(description="training")

    def on_fit_end(self, *_: Any) -> None:
        self._close()

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._open(trainer, "testing")

    def on_test_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        total = sum(trainer.num_test_batches)
        done = f"{100 * (batch_idx + 1) / total:.0f} % of the episodes"
        self._update(completed=batch_idx + 1, total=total, numbers=done)

    def on_test_end(self, *_: Any) -> None:
        self._close()

    def on_exception(self, *_: Any) -> None:
        self._close()

    def _open(self, trainer: pl.Trainer, title: str) -> None:
        if self.console.is_terminal and trainer.is_global_zero:
            self._bar = bar(self.console)
            self._bar.add_task(title, total=None, numbers="")
            self._bar.start()

    def _update(self, **shown: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], **shown)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, trainer: pl.Trainer, now: float) -> None:
        for name in ("loss", *SIGNS):
            if f"train/{name}" in trainer.callback_metrics:
                self._numbers[name] = float(trainer.callback_metrics[f"train/{name}"])
        steps, elapsed = trainer.global_step - self._first_step, now - self._began
        batches = (batches_done(trainer) - self._first_batch) * trainer.world_size
        tasks = batches * trainer.datamodule.tasks_per_batch  # type: ignore[attr-defined]
        done, left = self._fraction_done(trainer, elapsed, steps)
        words = [f"step {trainer.global_step}", f"loss {self._numbers.get('loss', float('nan')):.3f}"]
        for measure in SIGNS:
            if measure in self._numbers:
                names: dict[Split, str] = {"train": measure, "val": "val"}
                shown = {split: self._numbers[name] for split, name in names.items() if name in self._numbers}
                words += [f"{episodes(trainer, split)} {score(measure, number)}" for split, number in shown.items()]
        units = "episodes" if trainer.datamodule.batch_size is None else "batches"  # type: ignore[attr-defined]
        speed = [f"{rate(tasks / elapsed)} {units}/s", f"{left:.0f} s left" if left is not None else ""]
        if self._bar is not None:
            numbers = "  ".join([words[0], *speed]) + "\n" + "  ".join(words[1:])
            self._update(completed=done or 0.0, total=1.0 if done else None, numbers=numbers)
        else:
            self.console.print("  ".join([*words, *speed]))

    def _fraction_done(self, trainer: pl.Trainer, elapsed: float, steps: int) -> tuple[float | None, float | None]:
        """Returns the finished fraction and the remaining seconds, for the first limit to come."""
        limits: list[tuple[float, float]] = []
        if steps > 0 and (part := steps_done(trainer)) > 0:
            left = trainer.global_step * (1 / part - 1)
            limits.append((left * elapsed / steps, part))
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, pl.callbacks.Timer) and (seconds := callback.time_remaining()) is not None:
                limits.append((seconds, callback.time_elapsed() / (callback.time_elapsed() + seconds)))
        if not limits:
            return None, None
        left, done = min(limits)
        return done, max(left, 0.0)


def bar(console: Console) -> Progress:
    """Returns a bar with two lines of numbers beside it, which fit into 80 columns."""
    text = TextColumn("{task.description}  {task.fields[numbers]}")
    columns = (SpinnerColumn(), BarColumn(bar_width=10), text, TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def episodes(trainer: pl.Trainer, split: Split) -> str:
    """Names the episodes of a score, such as "train (20-way)": ways differ, and so do scores."""
    data: AbstractEpisodes[Any] = trainer.datamodule  # type: ignore[attr-defined]
    way = data.settings[split].way
    if data.batch_size is not None and split == "train":
        return f"{split} (all classes)"
    return split if way == 1 else f"{split} ({span(way if isinstance(way, int) else list(way))}-way)"
