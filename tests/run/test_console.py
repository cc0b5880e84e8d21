"""The terminal of a run: its folder, its progress and the table at its end."""

import io
import itertools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from conftest import resolved
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from rich.console import Console
from run_folders import episode, regression, result, runs

from metalearn.run.directory.checkpoint import Done
from metalearn.run.screen import console, progress
from metalearn.run.screen.console import show_result
from metalearn.run.screen.progress import episodes


@pytest.mark.parametrize(
    ("published", "row"),
    [
        ({"mse": 0.25, "source": "Finn et al. 2017"}, "0.25  Finn et al. 2017"),
        ({"mse": 0.25}, "0.25  no source"),
        ({"accuracy": 0.98, "source": "another task"}, None),
        (None, None),
    ],
)
def test_a_published_number_stands_where_it_is_of_what_was_measured(
    capsys: pytest.CaptureFixture[str], published: dict[str, Any] | None, row: str | None
) -> None:
    (run,) = runs(regression(0.5, published=published, test_dataset="sinusoid"))
    show_result(run.result, Path("there"))
    text = capsys.readouterr().out
    assert "0.5 ± 0.01" in text
    assert ("published" in text) == (row is not None)
    assert row is None or row in text


def test_a_published_number_of_another_test_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    for overrides, count in (([], 1), (["episode.test.way=2"], 0)):
        (run,) = runs(regression(0.5, published={"mse": 0.25}, overrides=["experiment=one", *overrides]))
        show_result(run.result, Path("there"))
        assert capsys.readouterr().out.count("published") == count


@pytest.mark.parametrize(("mean", "way", "warned"), [(0.207, 5, True), (0.209, 5, False), (0.209, [2, 5], False)])
def test_an_accuracy_that_may_be_chance_is_shown_beside_it(
    mean: float, way: Any, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = runs(result(mean, episode=episode(way=way)))  # with an interval of 0.8 points
    show_result(run.result, Path("there"))
    assert ("20.00 %: the accuracy may be no better" in capsys.readouterr().out) == warned


def test_an_accuracy_of_exactly_chance_is_shown_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A network that predicts one class has the accuracy of chance in every episode."""
    correct = torch.tensor([[1.0] * 15 + [0.0] * 60])
    mean = float(correct.mean(-1).double())
    collapsed = {"accuracy": {"mean": mean, "std": 0.0, "ci95": 0.0, "num_episodes": 100}}
    (run,) = runs(result(test=collapsed, episode=episode(way=5)))
    show_result(run.result, Path("there"))
    assert "20.00 %: the accuracy may be no better" in capsys.readouterr().out


def test_an_interval_that_one_episode_cannot_give_is_a_question_mark(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = {"mean": 0.5, "std": None, "ci95": None, "num_episodes": 1}
    (run,) = runs(regression(0.5, test={"mse": unknown, "nll": unknown}))
    show_result(run.result, Path("there"))
    text = capsys.readouterr().out
    assert text.count("0.5 ± ?") == 2
    assert "nan" not in text


def test_square_brackets_and_colons_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    published = {"mse": 0.25, "source": "[bold]"}
    (run,) = runs(regression(0.5, published=published, pretrained="out/[old]/:cat:/run", test_dataset="[mine]"))
    show_result(run.result, Path("there"))
    console.say("W&B: out/[new]/run")
    text = capsys.readouterr().out
    assert all(word in text for word in ("0.25  [bold]", "out/[old]/:cat:/run", "[mine]", "out/[new]/run"))


def test_the_folder_is_one_line_at_any_width(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(console, "console", Console(width=40))
    console.show_folder(Path("/data/" + "long/" * 30))
    assert capsys.readouterr().out == f"run directory /data/{'long/' * 30}"[:-1] + "\n"


def test_a_folder_below_the_current_one_is_relative(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_folder(Path.cwd() / "outputs/run")
    assert capsys.readouterr().out == "run directory outputs/run\n"


def test_the_bar_is_whole_at_80_columns() -> None:
    wide = Console(width=80, file=io.StringIO(), force_terminal=True)
    shown = progress.bar(wide)
    scores = "loss 1.234  train (20-way) 48.00 %  val (5-way) 66.13 %"
    shown.add_task(
        "validating", total=1.0, completed=0.5, numbers=f"step 12,000  123.4 episodes/s  3400 s left\n{scores}"
    )
    wide.print(shown)
    text = wide.file.getvalue()
    assert "…" not in text
    assert scores in text and "3400 s left" in text and "━" in text


class Batches(BoringDataModule):
    """Batches of 64 of all classes."""

    tasks_per_batch = 1
    batch_size = 64


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable:UserWarning")
def test_a_resumption_measures_its_own_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=itertools.count(step=10).__next__))
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    for steps, resumed in ((6, None), (8, tmp_path / "last.ckpt")):
        bar = progress.ProgressBar(seconds_between_lines=0)
        trainer = pl.Trainer(accelerator="cpu", max_steps=steps, limit_val_batches=0, callbacks=[bar], **quiet)
        trainer.fit(BoringModel(), datamodule=Batches(), ckpt_path=resumed, weights_only=True)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    *_, first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("step 7 ") and first.endswith("0.1 batches/s  10 s left")
    assert last.startswith("step 8 ") and last.endswith("0.1 batches/s  0 s left")


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_the_speed_counts_batches_before_the_first_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=itertools.count(step=25).__next__))
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    bar = progress.ProgressBar(seconds_between_lines=0)
    pl.Trainer(
        accelerator="cpu", max_steps=1, accumulate_grad_batches=3, limit_val_batches=0, callbacks=[bar], **quiet
    ).fit(BoringModel(), datamodule=Batches())
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("step 0 ") and last.startswith("step 1 ")
    assert all("  0.04 batches/s" in line for line in (first, second, last))


@pytest.mark.parametrize(
    ("way", "batch_size", "split", "name"),
    [
        (20, None, "train", "train (20-way)"),
        ((5, 20), None, "train", "train (5 to 20-way)"),
        (20, 64, "train", "train (all classes)"),
        (5, 64, "val", "val (5-way)"),
        (1, None, "val", "val"),
    ],
)
def test_an_accuracy_names_its_ways(way, batch_size: int | None, split: str, name: str) -> None:
    data = SimpleNamespace(settings={split: SimpleNamespace(way=way)}, batch_size=batch_size)
    assert episodes(SimpleNamespace(datamodule=data), split) == name


@pytest.mark.parametrize(
    ("limits", "done", "seen"),
    [
        ({"max_steps": 100}, Done(), "600"),
        ({"max_steps": 100, "max_epochs": 1, "limit_train_batches": 4}, Done(), "12"),
        ({"max_steps": 2, "max_epochs": 9, "limit_train_batches": 4}, Done(), "12"),
        ({"max_steps": 100}, Done(steps=90, batches=90, tasks=90), "150"),  # resumed with more tasks in a step
        ({"max_epochs": 9, "limit_train_batches": 4}, Done(steps=10, batches=20, tasks=20), "68"),
    ],
)
def test_the_planned_training_ends_at_its_first_limit(
    capsys: pytest.CaptureFixture[str], limits: dict[str, int], done: Done, seen: str
) -> None:
    config = resolved("trainer.accumulate_grad_batches=2")
    config["trainer"] |= {"max_steps": -1, **limits}
    (run,) = runs(result(None, tasks_per_batch=3))
    console.show_plan(config, run.result, Path("run"), done)
    assert re.search(rf"training episodes +{seen}\n", re.sub(r" +\n", "\n", capsys.readouterr().out))
