"""Images of a user with errors: settings, folders, lists, unreadable files."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from own_images import PARTS, SIZES, divide, hashes, refusal, source, write, write_list
from tiny_images import encoded, pixels

from metalearn.data import folder
from metalearn.data.files.inspection import Inspection
from metalearn.episodes.setting import Setting, refuse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "images")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": [2, 12, 12]}, "images have 1 channel or 3 channels, but input_shape asks for 2"),
        ({"split": [0.5, 0.5]}, "split=[0.5, 0.5] must be the fractions of train, val and test"),
        ({"split": [0.5, 0.5, 0.5]}, "which add up to 1"),
        ({"split": [1.5, 0, -0.5]}, "must be the fractions"),
        ({"split": [float("nan"), 0.5, 0.5]}, "must be the fractions"),
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
    assert "10 classes are too few: val gets none by the fraction 0.01; raise it" in refusal(
        root, split=[0.9, 0.01, 0.09]
    )
    assert f"{root} has no classes for val: all three splits are needed" in refusal(root, split=[0.8, 0, 0.2])
    missing = tmp_path / "given.csv"
    missing.write_text("split,class\ntrain,class a\nval,class x\ntest,class y\n")
    assert refusal(root, manifest=str(missing)).endswith(f"{root} lacks 2 classes of {missing}: class x, class y")
    divide(root)
    assert f"{root} has splits as folders; leave out the manifest" in refusal(root, manifest=str(missing))
    (root / "val" / PARTS["val"][0]).rename(root / "test" / PARTS["train"][0])
    assert refusal(root).endswith(
        f"{root} has classes in two splits: train/{PARTS['train'][0]} and test/{PARTS['train'][0]}; "
        f"dataset.root={root}/train divides the classes of one folder anew"
    )
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
        assert f"{path} is not a CSV file of path,label (" in refusal(path)
    last = good.count("\n") + 1
    for line, what in (
        (b"one", "it has 1 fields, not 2"),
        (b"a,b, c", 'it has 3 fields, not 2; a name that holds a comma stands in quotes: "..."'),
        (b"a,\xe9", "its text is not UTF-8"),
        (b'a,"b', "unexpected end of data"),
        (b"a\0,b", "embedded null byte"),
        (b",", "its path is empty"),  # as of an empty row of a spreadsheet
        (b"images/class a,b", f"{root}/class a is not a regular file"),
        (b"x" * 300 + b",b", f"[Errno 36] File name too long: '{tmp_path}/{'x' * 300}'"),
    ):
        path.write_bytes(good.encode() + line)
        assert refusal(path) == f"folder: {path} is not a CSV file of path,label (line {last}: {what})"
    path.write_text("path,label\n")
    assert f"{path} names no files" in refusal(path)
    path.write_text(good + "images/class a/9.png,class a\nimages/9.png,new\n")
    assert refusal(path).endswith(
        f"2 of {sum(SIZES.values()) + 2} files listed in {path} are missing: images/class a/9.png, images/9.png"
    )
    path.write_text(good + "images/class b/../class a/0.png,class b\n")
    assert "images/class b/../class a/0.png is listed twice" in refusal(path)
    path.write_text(good + "images/notes.txt,\n")
    assert "images/notes.txt has no label" in refusal(path)
    path.write_text(good)
    source(path).load()


SAME = "1 classes have names that differ only in blanks or in the codes of a letter; give each class one name: "


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("robin", "robin ", "'robin' and 'robin '"),
        ("a b", " a b", "' a b' and 'a b'"),
        ("V\u00f6gel", "Vo\u0308gel", r"'Vo\u0308gel' and 'V\xf6gel'"),
    ],
)
def test_one_class_by_two_names(root: Path, tmp_path: Path, first: str, second: str, shown: str) -> None:
    (root / "class a").rename(root / first)
    (root / "class b").rename(root / second)
    assert refusal(root) == f"folder: {SAME}{shown}"
    path = write_list(tmp_path / "images.csv", root)
    assert refusal(path) == f"folder: {path} is not a CSV file of path,label ({SAME}{shown})"
    for split, name in (("train", first), ("test", second)):
        (root / split).mkdir()
        (root / name).rename(root / split / name)
    assert f"folder: {root} has classes in two splits: train/{first} and test/{second}; " in refusal(root)


def test_a_class_folder_with_a_blank_name(root: Path) -> None:
    (root / "class a").rename(root / " ")
    assert refusal(root) == f"folder: {root} holds the folder ' ', whose name is blank: rename it"
    for split, name in (("train", " "), ("test", "class b")):
        (root / split).mkdir()
        (root / name).rename(root / split / name)
    assert refusal(root) == f"folder: {root}/train holds the folder ' ', whose name is blank: rename it"


def test_names_are_the_same_on_every_machine(root: Path, tmp_path: Path) -> None:
    (root / "class a").rename(root / "Vo\u0308gel ")
    names = [name for bank in source(root).load().values() for name in bank.names]
    assert sorted(names) == sorted({*SIZES, "V\u00f6gel"} - {"class a"})
    (root / "Vo\u0308gel ").rename(root / "V\u00f6gel")
    source(root).load()  # manifest of the other machine


@pytest.mark.parametrize("split", ["", "test"])
def test_classes_that_may_be_one_are_told(root: Path, split: str, caplog: pytest.LogCaptureFixture) -> None:
    name, other = PARTS["train"][0], PARTS["test"][0]
    if split:
        divide(root)
    (root / split / other).rename(root / split / name.upper())
    source(root).load()
    both = " and ".join(map(repr, [name, name.upper()] if split else [name.upper(), name]))
    assert f"folder: 1 classes have names that differ only in capitals, so each may be one class: {both}" in caplog.text


def test_names_that_are_no_text(root: Path) -> None:
    bad = os.fsencode(root / "class d") + b"/\xe9.png"
    os.rename(next((root / "class d").iterdir()), bad)
    assert refusal(root) == f"folder: 1 names are not UTF-8, rename them: {root}/class d/\\xe9.png"
    os.rename(root / "class a", os.fsencode(root) + b"/\xff")
    assert refusal(root) == f"folder: 1 names are not UTF-8, rename them: {root}/\\xff"


def test_equal_images_that_may_be_support_and_query_are_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained, tested = (sorted((root / PARTS[split][0]).iterdir())[0] for split in ("train", "test"))
    told = "folder: 1 images are there more than once, so a query may be one that was learnt: keep each once: "
    twin = trained.with_name("twin.png")  # a training may see an image twice
    twin.write_bytes(trained.read_bytes())
    source(root).load()
    assert "more than once" not in caplog.text
    copy = tested.with_name("zzz.png")
    copy.write_bytes(tested.read_bytes())
    source(root).load()
    assert f"{told}{tested} (test) and {copy} (test)\n" in caplog.text
    copy.unlink()
    for name in ("twin2.png", "twin3.png"):
        trained.with_name(name).write_bytes(trained.read_bytes())
    tested.write_bytes(trained.read_bytes())
    source(root).load()
    assert f"{told}{trained} (train) and {tested} (test)\n" in caplog.text


def test_the_split_of_another_folder(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "given.csv"
    other.write_text("split,class\ntrain,x\nval,y\ntest,z\n")
    assert refusal(root, manifest=str(other)) == (
        f"folder: {other} is the split of another data set than {root}; "
        "dataset.manifest=FILE names another, which is drawn where it is absent"
    )


BAD = {"empty": b"", "text": b"this is text", "cut": encoded(pixels(0), "PNG")[:-60], "pickle": b"\x80\x04."}


def test_unreadable_files_are_listed_and_left_out(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = source(root).load()
    for (kind, content), name in zip(BAD.items(), SIZES, strict=False):
        (root / name / f"{kind}.png").write_bytes(content)
    total = sum(SIZES.values()) + len(BAD)
    (root.parent / "classes.csv").unlink()
    shutil.rmtree(root.parent / "cache")
    message = refusal(root)
    assert f"{len(BAD)} of {total} files are not images, more than the fraction max_unreadable=0.01: " in message
    assert "class a/empty.png (" in message and message.endswith(" ...")
    for _ in range(2):  # the second time reads the cache
        caplog.clear()
        assert hashes(source(root, max_unreadable=0.2).load()) == hashes(expected)
        (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
        assert f"{len(BAD)} of {total} files are not images: " in warning.getMessage()
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
        refuse(Setting(way=2, shot=1, query=1).faults(banks[split], split))


def test_a_file_that_changes_while_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = Inspection({}, {str(path): path.read_bytes() for path in root.rglob("*.*")}, {})
    everything.digests[f"{root}/class e/9.jpg"] = b""
    monkeypatch.setattr(folder, "look_through", lambda paths, cache: everything)
    (changed := root / "class e/9.jpg").write_bytes(b"this is text")
    assert f"{changed} has changed and is no longer an image (" in refusal(root)
