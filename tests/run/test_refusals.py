"""Refused commands leave everything unchanged."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
import stopping
from conftest import Command, Finished
from own_images import write

from metalearn.run.directory.claim import LOCK
from metalearn.run.directory.folder import RunFolder
from metalearn.sweep.control import attend


def contents(folder: Path) -> dict[str, bytes]:
    """Reads all files of a run directory except the log and the lock, which any command changes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log" and path.name != LOCK)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def finished(metalearn: Command) -> Finished:
    return metalearn()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["resume={}", "episode.test.way=500"], "way 500 exceeds"),
        (["resume={}", "algorithm=maml"], "they differ in"),
        (["resume={}", "num_base_classes=5"], "num_base_classes=5"),
        (["resume={}", "batch_norm=support", "trainer.max_steps=20"], "with batch_norm=running, which the config now"),
        (["resume={}", "seed=5"], "seed=5 is refused, since the weights are of seed=0"),
        (["resume={}", "trainer.max_steps=5"], "has already trained 10 steps"),
        (["resume={}", "mode=test"], "to test its weights use mode=test checkpoint=DIR"),
        (["resume={}", "mode=test", "checkpoint={}"], "to test its weights use mode=test checkpoint=DIR"),
        (["resume={}", "optimizer.lr=0.3", "trainer.max_steps=20"], "continues with optimizer.lr=0.001"),
        (
            ["resume={}", "optimizer=adamw", "trainer.max_steps=20"],
            "continues with optimizer._target_=torch.optim.Adam",
        ),
        (["hydra.run.dir={}", "seed=5"], "already holds a run"),
    ],
)
def test_a_finished_run_keeps_all_its_files(
    metalearn: Command, finished: Finished, overrides: list[str], words: str
) -> None:
    before = contents(finished.folder)
    small = "resume={}" not in overrides
    refused = metalearn(*(o.format(finished.folder) for o in overrides), folder=finished.folder, small=small)
    assert refused.code == 2
    assert words in refused.text and "Traceback" not in refused.text
    assert contents(finished.folder) == before


def test_fewer_epochs_than_were_trained_are_refused(metalearn: Command) -> None:
    run = metalearn("trainer.max_steps=-1", "trainer.max_epochs=3", "trainer.limit_train_batches=2")
    before = contents(run.folder)
    refused = metalearn(f"resume={run.folder}", "trainer.max_epochs=1", folder=run.folder, small=False)
    assert refused.code == 2
    assert "has already trained 3 epochs: raise trainer.max_epochs=1" in refused.text
    assert contents(run.folder) == before


def test_a_run_that_was_killed_is_not_written_over(metalearn: Command) -> None:
    killed = metalearn()
    (killed.folder / "result.json").unlink()
    refused = metalearn("seed=7", folder=killed.folder)
    assert refused.code == 2 and "already holds a run" in refused.text


@pytest.mark.parametrize("small", [True, False])
def test_a_refused_command_leaves_no_directory(metalearn: Command, tmp_path: Path, *, small: bool) -> None:
    """Refuses a test on glyphs, and one on a folder whose split has been drawn for the run."""
    own = [] if small else ["dataset=folder", f"dataset.root={write(tmp_path / 'images')}", "trainer=cpu"]
    outputs = f"paths.outputs={tmp_path}/outputs"
    refused = metalearn(*own, outputs, "episode.test.way=500", small=small, named=False)
    assert refused.code == 2
    assert "way 500 exceeds" in refused.text
    assert not list(tmp_path.glob("outputs/*"))


def test_the_way_of_a_linear_head_is_one_that_all_splits_have_classes_for(metalearn: Command) -> None:
    for typed, remedy in ((10, 8), (4, 4)):  # meta-val and meta-test have 8 classes
        ways = [f"episode.{split}.way={typed if split == 'train' else 5}" for split in ("train", "val", "test")]
        refused = metalearn("algorithm=maml", *ways)
        assert refused.code == 2
        assert refused.text.endswith(f"type {' '.join(way.partition('=')[0] + f'={remedy}' for way in ways)}\n")


@pytest.mark.parametrize("bad", ["seed=-1", "episode.test.way=500"])
def test_a_refused_command_removes_only_what_it_made(
    metalearn: Command, tmp_path: Path, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes the directory from a file; one setting is refused before the data load, one after."""
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/here.yaml").write_text("# @package _global_\nhydra: { run: { dir: . } }\n")
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.chdir(own)
    for names in (set[str](), {"classes.csv", "my_classes.csv", "metalearn.log"}):
        for name in names:
            (own / name).write_text("mine")
        assert metalearn(f"--config-dir={tmp_path / 'conf'}", "experiment=here", bad, named=False).code == 2
        assert {path.name for path in own.iterdir()} == names


@pytest.mark.parametrize("bad", ["seed=-1", "episode.test.way=500"])
def test_a_refused_command_keeps_directories_that_were_there(metalearn: Command, tmp_path: Path, bad: str) -> None:
    made = tmp_path / "runs/mine"
    made.mkdir(parents=True)
    os.utime(made, (1, 1))
    assert metalearn(bad, folder=made).code == 2
    assert made.is_dir()
    for used in (tmp_path / "used", tmp_path / "others"):
        used.mkdir()
    (tmp_path / "used/classes.csv").write_text("mine")
    assert metalearn(bad, folder=tmp_path / "used").code == 2
    assert (tmp_path / "used/classes.csv").read_text() == "mine"
    assert metalearn("seed=-1", folder=tmp_path / "others/new").code == 2
    assert not list(tmp_path.glob("others/*")) and (tmp_path / "others").is_dir()


def test_a_directory_of_a_refused_command_can_be_used(metalearn: Command, tmp_path: Path) -> None:
    assert metalearn("episode.test.way=500", folder=tmp_path).result["status"] == "failed"
    assert metalearn(folder=tmp_path).code == 0


def test_a_resumed_run_needs_its_best_weights(metalearn: Command) -> None:
    run = metalearn()
    (run.folder / "checkpoints/best.ckpt").unlink()
    refused = metalearn(f"resume={run.folder}", "trainer.max_steps=12", folder=run.folder, small=False)
    assert refused.code == 2
    assert "cannot be resumed, because its best weights are lost" in refused.text


@pytest.mark.parametrize("change", ["episode.val.num_episodes=6", "episode.val.way=4"])
def test_the_best_score_of_a_resumed_run_is_of_the_same_episodes(metalearn: Command, change: str) -> None:
    run = metalearn("trainer.max_steps=4")
    refused = metalearn(f"resume={run.folder}", "trainer.max_steps=8", change, folder=run.folder, small=False)
    assert refused.code == 2, refused.text
    assert "chose its best weights on other meta-val episodes: keep dataset, train_split and" in refused.text


@pytest.mark.parametrize(
    "override", ["~callbacks.best", "callbacks.best.monitor=val/loss", "callbacks.last.filename=best"]
)
def test_which_weights_are_kept_is_no_option(metalearn: Command, override: str, tmp_path: Path) -> None:
    refused = metalearn(override, folder=tmp_path / "run")
    assert refused.code == 2
    assert "Traceback" not in refused.text


@pytest.mark.parametrize("key", ["hydra.run.dir", "paths.outputs", "hydra.sweep.dir"])
def test_a_file_where_a_folder_is_needed_is_named(metalearn: Command, tmp_path: Path, key: str) -> None:
    (tmp_path / "notes").write_text("mine")
    sweep = ["-m", "seed=1"] if "sweep" in key else []
    refused = metalearn(*sweep, f"{key}={tmp_path}/notes", named=False)
    assert refused.code == 2, refused.text
    assert refused.text == f"metalearn: {tmp_path}/notes is not a folder: remove it, or name another directory\n"
    assert (tmp_path / "notes").read_text() == "mine"


@pytest.mark.parametrize("is_link", [False, True])
def test_a_run_directory_whose_checkpoints_are_no_folder_is_refused(
    metalearn: Command, tmp_path: Path, is_link: bool
) -> None:
    if is_link:
        (tmp_path / "checkpoints").symlink_to(tmp_path / "absent")
    else:
        (tmp_path / "checkpoints").write_text("mine")
    refused = metalearn(folder=tmp_path)
    assert refused.code == 2, refused.text
    remedy = "remove it, or name another directory"
    assert refused.text == f"metalearn: {tmp_path}/checkpoints is not a folder, which a run needs: {remedy}\n"
    assert [path.name for path in tmp_path.iterdir() if path.name != LOCK] == ["checkpoints"]


def test_a_full_disk_leaves_the_result_of_a_finished_run(metalearn: Command, environment: dict[str, str]) -> None:
    allowed = stopping.allowing(environment)
    run = metalearn(stopping.CALLBACK, environment=allowed)
    before = contents(run.folder)
    full = {**allowed, stopping.VARIABLE: "0:error:write-overrides.yaml:1"}
    resumed = [f"resume={run.folder}", "trainer.max_steps=12"]
    stopped = metalearn(*resumed, folder=run.folder, small=False, environment=full)
    assert stopped.code == 1, stopped.text  # a disk is no bad input
    assert "No space left on device" in stopped.text
    assert {name for name, content in contents(run.folder).items() if content != before.get(name)} <= {
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
    }
    assert run.result["status"] == "completed"


def test_a_disk_without_locks_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    for take in (lambda: attend(tmp_path), RunFolder(tmp_path).claimed(resume=False).__enter__):
        with pytest.raises(OSError, match=rf"the disk of {tmp_path}/\S+ has no locks \(Function not .* paths.outputs"):
            take()


def test_another_fault_of_a_disk_is_not_taken_for_missing_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error") as raised:
        attend(tmp_path)
    assert raised.value.errno == errno.EIO
