"""Settings that a checkpoint restores, and the directory of a resumed run."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from conftest import Command, Finished
from lightning.pytorch.demos.boring_classes import BoringModel
from origins import keeper
from own_images import divide, write

from metalearn.run.checks.continued import check_optimizer, check_restored, restored
from metalearn.run.command.overrides import expand
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.origin import FACTS


def training(**changes: Any) -> dict[str, Any]:
    """Returns the parts of a config that a checkpoint restores."""
    step = {"_target_": "torch.optim.lr_scheduler.StepLR", "_partial_": True, "gamma": 0.5}
    stopping = {"early": {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "patience": 3, "monitor": "a"}}
    return {"optimizer": {"lr": 0.1}, "scheduler": step, "callbacks": stopping} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": {"lr": 0.2}}, "optimizer.lr=0.1 of the checkpoint, so optimizer.lr=0.2 would change nothing"),
        ({"scheduler": {**training()["scheduler"], "gamma": 0.9}}, "scheduler.gamma=0.5 of"),
        ({"scheduler": {"_target_": "metalearn.training.schedules.Linear"}}, "scheduler._partial_=True of"),
        ({"callbacks": {"early": {"patience": 4}}}, "callbacks.early.patience=3 of"),
    ],
)
def test_what_a_checkpoint_restores_cannot_be_changed(changes: dict[str, Any], message: str) -> None:
    check_restored(restored(training()), training())
    check_restored(restored(training()), training(callbacks={}))
    with pytest.raises(ValueError, match=re.escape(message)):
        check_restored(restored(training()), training(**changes))


def test_a_training_of_other_weights_is_not_continued() -> None:
    held, optimizer = (torch.optim.SGD([torch.zeros(1) for _ in range(number)], lr=0.1) for number in (3, 2))
    check_optimizer(optimizer.state_dict(), optimizer)
    with pytest.raises(ValueError, match="the checkpoint trains 3 weight tensors and the config 2: leave out"):
        check_optimizer(held.state_dict(), optimizer)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["hydra.run.dir={}/other"], "leave hydra.run.dir={}/other out"),
        (["-m", "trainer.max_steps=20,30"], "continues one run"),
        (["hydra.mode=MULTIRUN"], "continues one run"),
    ],
)
def test_a_run_continues_in_its_own_directory(metalearn: Command, typed: list[str], words: str) -> None:
    run = metalearn().folder
    of_a_job = [f"resume={run}", f"hydra.run.dir={run}", "hydra.mode=RUN"]
    assert expand(of_a_job)[-3:] == [*of_a_job[1:], f"resume='{run}'"]
    with pytest.raises(ValueError, match=re.escape(words.format(run))):
        expand([f"resume={run}", *(word.format(run) for word in typed)])


class Scored(BoringModel):
    """Network whose first validation is the best."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict({"val/accuracy": 0.5, "val/loss": 1.0})


class Failing(Scored):
    """Network that has too little memory for its first step."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        raise MemoryError


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable:UserWarning")
def test_both_checkpoints_have_the_settings_of_the_resumption(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)

    def train(module: Scored, steps: int, **settings: Any) -> list[tuple[int, Any]]:
        callbacks = [keeper(tmp_path, settings=settings)]
        trainer = pl.Trainer(accelerator="cpu", max_steps=steps, val_check_interval=1, callbacks=callbacks, **quiet)
        resumed = folder.last if folder.last.exists() else None
        with pytest.raises(MemoryError) if isinstance(module, Failing) else nullcontext():
            trainer.fit(module, ckpt_path=resumed, weights_only=True)
        kept = [torch.load(path, weights_only=True) for path in (folder.best, folder.last)]
        return [(each["global_step"], each[FACTS]["settings"]) for each in kept]

    assert train(Scored(), 2, run=1) == [(1, {"run": 1}), (2, {"run": 1})]
    assert train(Failing(), 9, run=2) == [(1, {"run": 1}), (2, {"run": 1})]
    assert train(Scored(), 3, run=3) == [(1, {"run": 3}), (3, {"run": 3})]
    assert train(Scored(), 3, run=4)[0] == (1, {"run": 4}), "it has no step to train"


def test_settings_that_a_file_has_changed_since_are_named(metalearn: Command, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    file, folder = tmp_path / "experiment/mine.yaml", tmp_path / "run"

    def resumed(*typed: str) -> Finished:
        return metalearn("--config-dir", str(tmp_path), f"resume={folder}", *typed, folder=folder, small=False)

    file.write_text("# @package _global_\ntasks_per_batch: 2\n")
    assert metalearn("--config-dir", str(tmp_path), "experiment=mine", f"hydra.run.dir={folder}").code == 0
    assert "since this run began" not in resumed("trainer.max_steps=11").text
    file.write_text("# @package _global_\ntasks_per_batch: 3\n")
    words = "have changed since this run began: it continues with tasks_per_batch=3 (before: 2)"
    assert words in resumed("trainer.max_steps=12").text
    typed = resumed("tasks_per_batch=2", "trainer.max_steps=13")
    assert typed.code == 0 and "since this run began" not in typed.text
    (tmp_path / "debug").mkdir()
    (tmp_path / "debug/clipped.yaml").write_text("# @package _global_\ntrainer: {gradient_clip_val: 1.0}\n")
    clipped = resumed("debug=clipped", "trainer.max_steps=14")
    assert clipped.code == 0 and "since this run began" not in clipped.text


def test_a_head_is_not_continued_on_renamed_classes(metalearn: Command, tmp_path: Path) -> None:
    root = divide(write(tmp_path / "images"))
    counts = [f"episode.{split}.{count}" for split in ("val", "test") for count in ("way=2", "query=1")]
    own = ["dataset=folder", f"dataset.root={root}", "dataset.input_shape=[1,28,28]", "algorithm=baseline"]
    small = ["backbone.channels=4", "trainer.max_steps=2", "trainer=cpu", "batch_size=8"]
    run = metalearn(*own, *counts, *small, folder=tmp_path / "run", small=False)
    assert run.code == 0, run.text
    first = sorted((root / "train").iterdir())[0]
    first.rename(root / "train/zebra")
    refused = metalearn(f"resume={run.folder}", "trainer.max_steps=12", folder=run.folder, small=False)
    assert refused.code == 2 and f"the head was trained with '{first.name}' in the place of" in refused.text
