"""Command lines that go on from an earlier run."""

from pathlib import Path

import pytest
import torch

from metalearn.run.overrides import anywhere, expand

EARLIER = ["algorithm=maml", "algorithm.inner_lr=0.1", "seed=3", "logger=wandb", "logger.wandb.group=g", "+trainer.x=1"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    torch.save({"metalearn": {"overrides": EARLIER}}, tmp_path / "checkpoints/last.ckpt")
    return tmp_path


def test_resuming_repeats_everything(run: Path) -> None:
    assert expand([f"resume={run}"]) == [*EARLIER, f"resume='{run}'", f"hydra.run.dir='{run}'"]


def test_what_is_typed_wins(run: Path) -> None:
    expanded = expand([f"resume={run}", "seed=4", "trainer.x=2"])
    assert [o for o in expanded if "seed" in o or "trainer" in o] == ["seed=4", "trainer.x=2"]


def test_testing_repeats_all_but_the_logger(run: Path) -> None:
    typed = ["mode=test", f"checkpoint='{run}/checkpoints/last.ckpt'"]
    assert expand(typed) == ["algorithm=maml", "algorithm.inner_lr=0.1", "seed=3", "+trainer.x=1", *typed]


def test_testing_takes_the_split_that_was_drawn_for_the_run(run: Path) -> None:
    split, checkpoint = run / "classes.csv", f"checkpoint={run}/checkpoints/last.ckpt"
    split.write_text("split,class\n")
    assert f"dataset.manifest='{split}'" in expand(["mode=test", checkpoint])
    given = expand(["mode=test", checkpoint, "dataset.manifest=mine.csv"])
    assert [o for o in given if "manifest" in o] == ["dataset.manifest=mine.csv"]
    assert not [o for o in expand(["mode=test", checkpoint, "dataset=omniglot"]) if "manifest" in o]


def test_arguments_of_a_replaced_part_go_with_it(run: Path) -> None:
    expanded = expand(["mode=test", f"checkpoint={run}/checkpoints/last.ckpt", "algorithm=anil"])
    assert [o for o in expanded if "algorithm" in o] == ["algorithm=anil"]


def test_other_command_lines_stay_as_they_are() -> None:
    for argv in (["seed=1"], ["-m", "seed=1,2"], ["--help"], ["resume=null"], []):
        assert expand(argv) == argv


def test_paths_are_stored_so_that_they_hold_anywhere() -> None:
    overrides = ["paths.data=../data", "paths.outputs=/abs", "paths.cache=${oc.env:X}", "seed=1", "dataset.root=my/own"]
    expected = ["paths.data='/work/here/../data'", "paths.outputs='/abs'", "paths.cache=${oc.env:X}", "seed=1"]
    assert anywhere(overrides, Path("/work/here")) == [*expected, "dataset.root='/work/here/my/own'"]
