"""miniImageNet with missing, damaged or wrong files: one line reports each fault."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from test_mini_imagenet import few_classes, source  # noqa: F401
from tiny_images import CLASSES, NUM_IMAGES, encoded, pixels, refusal, write_csv_layout, write_folders

from metalearn.types import Split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_csv_layout(tmp_path / "mini_imagenet")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_missing_data_says_what_to_put_where(tmp_path: Path, cache: Path) -> None:
    for root in (tmp_path / "nowhere", tmp_path):
        message = refusal(source(root, cache))
        assert f"{root} has no images; put there images/ with train.csv" in message


def test_bad_csv_layouts(root: Path, cache: Path) -> None:
    csv = root / "val.csv"
    whole = csv.read_text()
    csv.unlink()
    assert f"{csv} is missing beside images/; put there" in refusal(source(root, cache))
    for text in ("", "no csv", whole.replace("filename", "file"), whole + "one,two,three\n", whole + "one\n"):
        csv.write_text(text)
        assert f"{csv} is not a CSV file of filename,label (" in refusal(source(root, cache))
    csv.write_bytes(b"\xff\xfe\x00")
    assert f"{csv} is not a CSV file" in refusal(source(root, cache))
    csv.write_text(whole + "n0000000400000001.jpg,n00000005\n")
    assert "n0000000400000001.jpg has two labels" in refusal(source(root, cache))
    csv.write_text(whole + "n0000000600000001.jpg,n00000004\n")  # in meta-test
    assert f"1 files that {root / 'test.csv'} names are absent, or in another CSV too" in refusal(source(root, cache))
    csv.write_text(whole.replace("n00000004\n", "n00000006\n"))
    assert f"{csv} has the class n00000006, which is not in val of the split" in refusal(source(root, cache))
    csv.write_text(whole.replace("n0000000400000001.jpg", "../../absent.jpg"))
    message = refusal(source(root, cache))
    assert f"1 files that {csv} names are absent" in message and "../../absent.jpg" in message
    csv.write_text("".join(line for line in whole.splitlines(True) if not line.endswith("n00000004\n")))
    assert "the class n00000004 has 0 of 4 images" in refusal(source(root, cache))
    csv.write_text(whole)
    (root / "images/n0000000100000001.jpg").rename(root / "elsewhere.jpg")
    assert f"1 files that {root / 'train.csv'} names are absent" in refusal(source(root, cache))
    (root / "elsewhere.jpg").rename(root / "images/n0000000100000001.jpg")
    source(root, cache).load()


def test_bad_folders(root: Path, cache: Path, tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "folders", root)
    (folders / "val/n00000004").rename(folders / "n00000004")  # a class may lie above its split
    source(folders, tmp_path / "other").load()
    (folders / "n00000004").rename(folders / "elsewhere")
    message = refusal(source(folders, cache))
    assert f"{folders} has 6 of 7 classes as folders" in message and message.endswith("missing n00000004")
    (folders / "elsewhere").rename(folders / "test/n00000004")
    assert "test/n00000004 is in the wrong place: the class belongs to val" in refusal(source(folders, cache))
    (folders / "test/n00000004").rename(folders / "val/n00000004")
    (absent := next((folders / "val/n00000004").iterdir())).unlink()
    assert "the class n00000004 has 3 of 4 images" in refusal(source(folders, cache))
    absent.write_bytes(encoded(pixels(3)))
    source(folders, cache).load()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"this is text", id="text"),
        pytest.param(encoded(pixels(0))[:-100], id="truncated"),
        pytest.param(encoded(pixels(0), "GIF"), id="gif"),
    ],
)
def test_damaged_images_are_named(root: Path, cache: Path, content: bytes) -> None:
    path = root / "images/n0000000500000003.jpg"
    whole = path.read_bytes()
    path.write_bytes(content)
    assert f"{path} is damaged, or no JPEG or PNG image (" in refusal(source(root, cache))
    path.write_bytes(whole)
    source(root, cache).load()


class Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_bad_pickles(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "pickles"
    folder.mkdir()

    def write(split: Split, content: object) -> None:
        (folder / f"mini-imagenet-cache-{split}.pkl").write_bytes(pickle.dumps(content))

    def good(split: Split) -> dict[str, object]:
        size = len(CLASSES[split]) * NUM_IMAGES
        rows = {name: [*range(i, size, len(CLASSES[split]))] for i, name in enumerate(CLASSES[split])}
        return {"image_data": np.stack([pixels(i) for i in range(size)]), "class_dict": rows}

    write("train", good("train"))
    write("val", good("val"))
    assert "mini-imagenet-cache-test.pkl is missing beside the other pickles" in refusal(source(folder, cache))
    images, rows = good("test").values()
    assert isinstance(images, np.ndarray) and isinstance(rows, dict)
    evil = tmp_path / "evil"
    for content, message in {
        "code": ({"image_data": images, "class_dict": Code(evil)}, "it asks for posix.mkdir"),
        "keys": ({"images": images}, "lacks the keys image_data and class_dict"),
        "list": ([1, 2], "lacks the keys"),
        "val": (good("val"), "lacks the class n00000006: it must hold the 2 classes of test"),
        "more": ({"image_data": images, "class_dict": {**rows, "n1": [0]}}, "has the class n1: it must hold the 2"),
        "float": ({"image_data": images / 255, "class_dict": rows}, "the images are float64"),
        "flat": ({"image_data": images[0], "class_dict": rows}, "not uint8 (M, H, W, 3)"),
        "few": (
            {"image_data": images, "class_dict": {**rows, "n00000007": [0, 1, 2]}},
            "n00000007 does not hold 4 distinct",
        ),
        "twice": (
            {"image_data": images, "class_dict": {**rows, "n00000007": [1, 1, 2, 3]}},
            "does not hold 4 distinct rows",
        ),
        "far": (
            {"image_data": images, "class_dict": {**rows, "n00000007": [1, 2, 3, 99]}},
            "does not hold 4 distinct rows",
        ),
        "text": (
            {"image_data": images, "class_dict": {**rows, "n00000007": ["a", "b", "c", "d"]}},
            "does not hold 4 distinct rows",
        ),
    }.values():
        write("test", content)
        assert message in refusal(source(folder, cache))
    assert not evil.exists()
    write("test", good("test"))
    source(folder, cache).load()
