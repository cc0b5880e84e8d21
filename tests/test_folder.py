"""The user's own images: folders and lists, of any format and size, some of them damaged."""

import csv
import io
import logging
import multiprocessing
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_images import encoded, pixels

from metalearn.data import folder
from metalearn.data.bank import ClassBank
from metalearn.data.folder import Folder
from metalearn.data.manifest import draw_split, read_manifest
from metalearn.data.omniglot import process
from metalearn.episodes.sampling import Setting
from metalearn.types import SPLITS, Split

SIZES = {f"class {letter}": 3 + number % 4 for number, letter in enumerate("abcdefghij")}  # images of each class
FRACTIONS = [0.6, 0.2, 0.2]
PARTS = draw_split(SIZES, FRACTIONS, 0)
KINDS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
Banks = dict[Split, ClassBank]


def source(root: Path, **changes: Any) -> Folder:
    """The caches and the manifest lie beside the images."""
    arguments: dict[str, Any] = {
        "cache": str(root.parent / "cache"),
        "manifest": str(root.parent / "classes.csv"),
        "split": FRACTIONS,
        "split_seed": 0,
        "max_unreadable": 0.01,
        "invert": False,
        "input_shape": [3, 12, 12],
    }
    return Folder(str(root), **arguments | changes)


def write(root: Path) -> Path:
    """Class folders with images of many formats and sizes."""
    for number, (name, size) in enumerate(SIZES.items()):
        (root / name).mkdir(parents=True)
        for i in range(size):
            kind = KINDS[(number + i) % len(KINDS)]
            image = pixels(10 * number + i, 12 + i, 12 + number)
            (root / name / f"{i}.{kind.lower()}").write_bytes(encoded(image, kind))
    return root


def divide(root: Path) -> Path:
    """The class folders moved to train/, val/ and test/."""
    for split, names in PARTS.items():
        (root / split).mkdir()
        for name in names:
            (root / name).rename(root / split / name)
    return root


def write_list(path: Path, root: Path) -> Path:
    """A list of the images, in no order, by paths from where it is."""
    lines = [(image.relative_to(path.parent), image.parent.name) for image in root.rglob("*.*")]
    random.Random(0).shuffle(lines)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *lines])
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "images")


def hashes(banks: Banks) -> list[str]:
    return [bank.sha256() for bank in banks.values()]


def refusal(root: Path, **changes: Any) -> str:
    """The one line that tells a user what is wrong; no array and no manifest may be left of the attempt."""
    with pytest.raises((OSError, ValueError), match="^folder: ") as caught:
        source(root, **changes).load()
    assert "\n" not in str(caught.value)
    assert not list(root.parent.glob("cache/*.npy*")) and not (root.parent / "classes.csv").exists()
    return str(caught.value)


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
        if path.parent != tmp_path:  # paths are from where the list is
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


def test_opening_reads_no_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = source(root).load()
    monkeypatch.setattr(folder, "decode", None)
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
    shutil.copytree(root / "class a", root / "class k")
    again = source(root, split_seed=5).load()  # whatever is drawn otherwise, and though there is another class now
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": [2, 12, 12]}, "images are grey (1 channel) or coloured (3), but input_shape asks for 2"),
        ({"split": [0.5, 0.5]}, "split=[0.5, 0.5] must be the fractions of train, val and test"),
        ({"split": [0.5, 0.5, 0.5]}, "which add up to 1"),
        ({"split": [1.5, 0, -0.5]}, "must be the fractions"),
        ({"max_unreadable": 12}, "max_unreadable=12 must be a fraction of the files"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^folder: ") as caught:
        source(tmp_path, **changes)
    assert message in str(caught.value)


def test_missing_data_says_what_to_put_where(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere")
    assert f"{tmp_path}/nowhere is absent; dataset.root=PATH is a folder with a folder of images for each" in message
    (tmp_path / "data").mkdir()
    assert f"{tmp_path}/data has no folders of images; dataset.root=PATH" in refusal(tmp_path / "data")


def test_bad_folders(root: Path, tmp_path: Path) -> None:
    (root / "class d/more").mkdir()
    assert "class d holds the folder more, but a class is one folder of images" in refusal(root)
    (root / "class d/more").rmdir()
    (root / "class z").mkdir()
    assert refusal(root).endswith(f"{root} has classes without images: class z")
    (root / "class z").rmdir()
    assert "the folder of the manifest" in refusal(root, manifest=str(tmp_path / "nowhere/classes.csv"))
    assert "10 classes are too few: 0.01 of them for val are none" in refusal(root, split=[0.9, 0.01, 0.09])
    assert f"{root} has no classes for val: all three splits are needed" in refusal(root, split=[0.8, 0, 0.2])
    missing = tmp_path / "given.csv"
    missing.write_text("split,class\ntrain,class a\nval,class x\ntest,class y\n")
    assert refusal(root, manifest=str(missing)).endswith(f"{root} lacks 2 classes of {missing}: class x, class y")
    divide(root)
    assert f"{root} has splits as folders; leave out the manifest" in refusal(root, manifest=str(missing))
    (root / "val" / PARTS["val"][0]).rename(root / "test" / PARTS["train"][0])
    assert refusal(root).endswith(f"{root} has classes in two splits: {PARTS['train'][0]}")
    shutil.rmtree(root / "val")
    shutil.rmtree(root / "test" / PARTS["train"][0])
    assert f"{root} has no classes for val: all three splits are needed, or test alone" in refusal(root)
    (root / "test").rename(root / "valid")
    assert "has no classes for val and test" in refusal(root)


def test_bad_lists(root: Path, tmp_path: Path) -> None:
    path = write_list(tmp_path / "images.csv", root)
    good = path.read_text()
    for bad in ("", "no list", good.replace("label", "class", 1), good + "one\n", good + "a,b,c\n"):
        path.write_text(bad)
        assert f"{path} is no CSV file of path,label (" in refusal(path)
    path.write_bytes(b"\xff\xfe\x00")
    assert f"{path} is no CSV file of path,label (" in refusal(path)
    path.write_text("path,label\n")
    assert f"{path} names no files" in refusal(path)
    path.write_text(good + "images/class a/9.png,class a\nimages/9.png,new\n")
    assert refusal(path).endswith(
        f"2 of {sum(SIZES.values()) + 2} files that {path} names are absent: images/class a/9.png, images/9.png"
    )
    path.write_text(good + "images/class b/../class a/0.png,class b\n")
    assert "images/class b/../class a/0.png is there twice" in refusal(path)
    path.write_text(good + "images/notes.txt,\n")
    assert "images/notes.txt has no label" in refusal(path)
    path.write_text(good)
    source(path).load()


BAD = {"empty": b"", "text": b"this is text", "cut": encoded(pixels(0), "PNG")[:-60], "pickle": b"\x80\x04."}


def test_unreadable_files_are_listed_and_left_out(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = source(root).load()
    for (kind, content), name in zip(BAD.items(), SIZES, strict=False):
        (root / name / f"{kind}.png").write_bytes(content)
    total = sum(SIZES.values()) + len(BAD)
    (root.parent / "classes.csv").unlink()
    shutil.rmtree(root.parent / "cache")
    message = refusal(root)
    assert f"{len(BAD)} of {total} files are no images, more than the fraction max_unreadable=0.01: " in message
    assert "class a/empty.png (" in message and message.endswith(" ...")
    for _ in range(2):  # the second time from what is known
        caplog.clear()
        assert hashes(source(root, max_unreadable=0.2).load()) == hashes(expected)
        (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
        assert f"{len(BAD)} of {total} files are no images: " in warning.getMessage()
        for kind, name in zip(BAD, SIZES, strict=False):
            assert f"{root}/{name}/{kind}.png (" in warning.getMessage()


def test_a_class_without_readable_images_is_named(root: Path) -> None:
    for image in (root / "class e").iterdir():
        image.write_bytes(b"this is text")
    assert refusal(root, max_unreadable=0.5).endswith(f"{root} has classes without images: class e")


def test_a_class_of_one_image_is_named_before_it_is_refused(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for image in sorted((root / "class e").iterdir())[1:]:
        image.unlink()
    with caplog.at_level(logging.INFO):
        banks = source(root).load()
    split = next(split for split, names in PARTS.items() if "class e" in names)
    assert f"{split} has {len(PARTS[split])} classes of 1 to 6 images; the smallest is class e" in caplog.text
    with pytest.raises(ValueError, match=f"exceeds the 1 images of 'class e', the smallest class of split '{split}'"):
        Setting(way=2, shot=1, query=1).check(banks[split], split)


def test_a_file_that_changes_while_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_unreadable", lambda paths: {"rows": np.array([], int), "reasons": np.array([], str)})
    (one := root / "class e/9.jpg").write_bytes(b"this is text")
    assert f"{one} has changed, and is no image any more (" in refusal(root)


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


# --- the command line -------------------------------------------------------------------------------------------------

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
    # A test of its checkpoint is on the same classes, whatever has been added since.
    (root / "class 0").mkdir()
    for i in range(3):
        (root / f"class 0/{i}.png").write_bytes(next((root / "class e").iterdir()).read_bytes())
    again = metalearn("mode=test", f"checkpoint={run.folder}/checkpoints/last.ckpt", small=False)
    assert again.code == 0, again.text
    assert again.test["episodes_sha256"] == run.test["episodes_sha256"]
    assert not (again.folder / "classes.csv").exists()
    assert run.result["dataset"] == "folder" and run.checkpoint()["metalearn"]["num_base_classes"] == 4
