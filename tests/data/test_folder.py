"""Images of a user: folders and lists, of any format and size, and their splits."""

import io
import logging
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_images import FRACTIONS, PARTS, SIZES, divide, hashes, source, write, write_list
from PIL import Image
from tiny_images import encoded, pixels

from metalearn.data import folder
from metalearn.data.manifest import draw_split, read_manifest
from metalearn.data.omniglot import process
from metalearn.types import SPLITS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "images")


def test_banks_hold_every_image_of_every_class(root: Path) -> None:
    (root / "class a/.hidden").write_bytes(b"no image")
    (root / "notes.txt").write_text("beside the classes")
    (root / ".git").mkdir()
    banks = source(root).load()
    assert {split: bank.names for split, bank in banks.items()} == PARTS
    for bank in banks.values():
        assert [len(rows) for rows in bank.rows] == [SIZES[name] for name in bank.names]
        for name, rows in zip(bank.names, bank.rows, strict=True):
            for path, row in zip(sorted((root / name).glob("[!.]*")), rows, strict=True):
                with Image.open(path) as image:
                    expected = image.convert("RGB").resize((12, 12), Image.Resampling.LANCZOS)
                np.testing.assert_array_equal(bank.images[row], np.asarray(expected).transpose(2, 0, 1))


def test_all_layouts_give_the_same(root: Path, tmp_path: Path) -> None:
    expected = source(root).load()
    (tmp_path / "lists").mkdir()
    for path in (tmp_path / "images.csv", tmp_path / "lists/images.csv"):
        write_list(tmp_path / "images.csv", root)
        if path.parent != tmp_path:  # paths are relative to the list
            path.write_text((tmp_path / "images.csv").read_text().replace("\nimages/", "\n../images/"))
        assert hashes(source(path).load()) == hashes(expected)
    assert hashes(source(divide(root), manifest=str(tmp_path / "absent")).load()) == hashes(expected)


def test_grey_images_and_dark_ink(root: Path, tmp_path: Path) -> None:
    paper = np.ones((105, 105), bool)
    paper[20:40, 30:90] = paper[40:80, 30:33] = False
    drawings = {}
    for number, name in enumerate(SIZES):
        file = io.BytesIO()
        Image.fromarray(np.roll(paper, number)).convert("1").save(file, "PNG")
        for image in (root / name).iterdir():
            image.unlink()
        (root / name / "1.png").write_bytes(file.getvalue())
        drawings[name] = process(file.getvalue(), 28, 28)
    for bank in source(root, invert=True, input_shape=[1, 28, 28]).load().values():
        np.testing.assert_array_equal(bank.images[:, 0], np.stack([drawings[name] for name in bank.names]))
    paper_is_white = source(root, input_shape=[1, 28, 28]).load()["test"].images
    assert paper_is_white[0, 0, 0, 0] == 255
    assert len(list(tmp_path.glob("cache/folder-28x28-*.npy"))) == 2
    assert source(root).load()["test"].images.shape[1:] == (3, 12, 12)


def deepened(root: Path, bits: int) -> None:
    """Converts every image to grey of 16 bits that uses only `bits` of them."""
    for image in root.glob("*/*"):
        with Image.open(image) as opened:
            grey = np.asarray(opened.convert("L").resize((12, 12))).astype(np.uint16)
        image.unlink()
        Image.fromarray(grey << (bits - 8)).save(image.with_suffix(".png"))


@pytest.mark.parametrize("bits", [16, 12, 10, 8])
def test_the_bits_that_the_files_use_become_bytes(tmp_path: Path, caplog: pytest.LogCaptureFixture, bits: int) -> None:
    root = write(tmp_path / "images")
    deepened(root, 8)
    expected = source(root, input_shape=[1, 12, 12]).load()
    deepened(root, bits)
    with caplog.at_level(logging.INFO):
        found = source(root, input_shape=[1, 12, 12]).load()
    for split in SPLITS:
        np.testing.assert_array_equal(found[split].images, expected[split].images)
    assert f"images of 16 bits use the lowest {bits} of them, so that {2**bits - 1} is white" in caplog.text
    assert "dark" not in caplog.text


def test_dark_images_are_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for image in root.glob("*/*"):
        grey = np.random.default_rng(0).integers(0, 52, (12, 12), dtype=np.uint8)
        grey[0, 0] = 51
        Image.fromarray(grey).save(image.with_suffix(".png"))
        if image.suffix != ".png":
            image.unlink()
    source(root).load()
    assert "folder: all images are dark: their brightest pixel is 20.0 % of white" in caplog.text


def test_opening_reads_no_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = source(root).load()
    monkeypatch.setattr(folder, "read_regular", None)
    assert hashes(source(root).load()) == hashes(before)
    monkeypatch.undo()
    (root / "class c/0.tiff").write_bytes(encoded(pixels(99), "TIFF"))
    after = source(root).load()
    changed = [not np.array_equal(before[split].images, after[split].images) for split in SPLITS]
    assert sum(changed) == 1 and hashes(after) != hashes(before)


def test_the_drawn_split_is_kept_and_given_back(root: Path, tmp_path: Path) -> None:
    first = source(root).load()
    kept = tmp_path / "classes.csv"
    assert read_manifest(kept) == PARTS
    (root / "class k").mkdir()
    (root / "class k/0.png").write_bytes(encoded(pixels(77), "PNG"))
    # Neither the other seed nor another class changes the split.
    again = source(root, split_seed=5).load()
    assert hashes(again) == hashes(first)
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join(["split,class", "test,class k", *lines[1:]]))
    assert source(root).load()["test"].names == tuple(sorted([*PARTS["test"], "class k"]))
    other = source(root, manifest=str(tmp_path / "other.csv"), split_seed=1).load()
    assert {split: bank.names for split, bank in other.items()} == draw_split([*SIZES, "class k"], FRACTIONS, 1)
    assert read_manifest(tmp_path / "other.csv")["test"] == other["test"].names


def test_classes_that_the_manifest_leaves_out_are_told(root: Path, tmp_path: Path, caplog) -> None:
    (tmp_path / "classes.csv").write_text("split,class\ntrain,class a\nval,class b\ntest,class c\n")
    with caplog.at_level(logging.INFO):
        banks = source(root).load()
    assert [bank.names for bank in banks.values()] == [("class a",), ("class b",), ("class c",)]
    assert "7 classes are not in" in caplog.text and "left out: class d, class e, class f ..." in caplog.text
    assert "train has 1 classes of 3 to 3 images; the smallest is class a" in caplog.text


def test_for_testing_alone(root: Path, tmp_path: Path) -> None:
    banks = source(root, split=[0, 0, 1]).load()
    assert list(banks) == ["test"] and banks["test"].names == tuple(SIZES)
    assert read_manifest(tmp_path / "classes.csv")["test"] == tuple(SIZES)
    (tmp_path / "mine").mkdir()
    root.rename(tmp_path / "mine/test")
    alone = source(tmp_path / "mine", manifest=str(tmp_path / "absent")).load()
    assert list(alone) == ["test"] and alone["test"].sha256() == banks["test"].sha256()


def build(root: Path, results: Any) -> None:
    results.put(hashes(source(root).load()))


def test_two_processes_at_once(root: Path, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    builders = [fork.Process(target=build, args=(root, results)) for _ in range(3)]
    for builder in builders:
        builder.start()
    found = [results.get(timeout=60) for _ in builders]
    for builder in builders:
        builder.join(30)
        assert builder.exitcode == 0
    assert found[0] == found[1] == found[2]
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".npy", ".npz"]
    assert read_manifest(tmp_path / "classes.csv") == PARTS


# --- the command line --------------------------------------------------------------------------

SMALL = [
    "dataset=folder",
    "dataset.input_shape=[3,16,16]",
    "dataset.split=[0.4,0.3,0.3]",
    "backbone.channels=8",
    "episode.train={way:3,shot:1,query:1}",
    "episode.val={way:2,shot:1,query:1,num_episodes:3}",
    "episode.test={way:2,shot:1,query:1,num_episodes:3}",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
]


def test_a_run_keeps_its_split(metalearn, root: Path, tmp_path: Path) -> None:
    run = metalearn(*SMALL, f"dataset.root={root}", f"paths.cache={tmp_path}/cache", small=False)
    assert run.code == 0, run.text
    assert read_manifest(run.folder / "classes.csv") == draw_split(SIZES, [0.4, 0.3, 0.3], 0)
    # A test of its checkpoint uses the same classes, whatever classes have been added since.
    (root / "class 0").mkdir()
    for i in range(3):
        (root / f"class 0/{i}.png").write_bytes(next((root / "class e").iterdir()).read_bytes())
    again = metalearn("mode=test", f"checkpoint={run.folder}/checkpoints/last.ckpt", small=False)
    assert again.code == 0, again.text
    assert again.test["episodes_sha256"] == run.test["episodes_sha256"]
    assert not (again.folder / "classes.csv").exists()
    assert run.result["dataset"] == "folder" and run.checkpoint()["metalearn"]["num_base_classes"] == 4


def test_a_run_of_two_folders_keeps_two_splits(metalearn, root: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other")
    for number, name in enumerate(SIZES):
        (other / name).rename(other / f"new {number}")
    small = [*SMALL, f"dataset.root={root}", f"paths.cache={tmp_path}/cache"]
    second = ["test_dataset=folder", f"test_dataset.root={other}", "test_dataset.input_shape=[3,16,16]"]
    run = metalearn(*small, *second, "test_dataset.split=[0,0,1]", small=False)
    assert run.code == 0, run.text
    assert read_manifest(run.folder / "classes.csv") == draw_split(SIZES, [0.4, 0.3, 0.3], 0)
    assert read_manifest(run.folder / "test_classes.csv")["test"] == tuple(f"new {number}" for number in range(10))
    assert "have names of training classes" not in run.text
    # The whole first folder replaces the second: four of its classes were trained on.
    test = ["mode=test", f"checkpoint={run.folder}/checkpoints/last.ckpt", f"test_dataset.root={root}"]
    again = metalearn(*test, small=False)
    assert again.code == 0, again.text
    assert "4 of the 10 meta-test classes have names of training classes: " in again.text
