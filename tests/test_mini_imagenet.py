"""miniImageNet in each of its layouts, with 7 classes of 4 small images instead of 100 of 600."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_images import (
    CLASSES,
    NUM_IMAGES,
    SHAPE,
    decoded,
    dumped,
    encoded,
    pixels,
    refusal,
    write_csv_layout,
    write_folders,
)

from metalearn.data import mini_imagenet
from metalearn.data.bank import ClassBank
from metalearn.data.files import image_files
from metalearn.data.mini_imagenet import PICKLES, MiniImageNet
from metalearn.data.splits import known_splits, read_split
from metalearn.types import Split


@pytest.fixture(autouse=True)
def few_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini_imagenet, "read_split", lambda dataset, split: CLASSES)
    monkeypatch.setattr(mini_imagenet, "NUM_IMAGES", NUM_IMAGES)


def source(root: Path, cache: Path) -> MiniImageNet:
    return MiniImageNet(str(root), cache=str(cache), input_shape=[*SHAPE])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_csv_layout(tmp_path / "mini_imagenet")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def hashes(banks: dict[Split, ClassBank]) -> list[str]:
    return [bank.sha256() for bank in banks.values()]


def test_published_split() -> None:
    assert known_splits("mini_imagenet") == ["ravi"]
    parts = list(read_split("mini_imagenet", "ravi").values())
    assert list(map(len, parts)) == [64, 16, 20]
    assert len(set(sum(parts, ()))) == 100
    assert all(list(part) == sorted(part) for part in parts)


def test_other_than_three_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="^mini_imagenet: images have 3 channels, but input_shape asks for 1$"):
        MiniImageNet("", cache="", input_shape=[1, 84, 84])


def test_banks(root: Path, cache: Path) -> None:
    banks, images = source(root, cache).load(), decoded(root)
    for split, names in CLASSES.items():
        bank = banks[split]
        assert bank.names == names and bank.images.shape == (len(names) * NUM_IMAGES, *SHAPE)
        for name, rows in zip(names, bank.rows, strict=True):
            expected = np.stack([images[name][file] for file in sorted(images[name])]).transpose(0, 3, 1, 2)
            np.testing.assert_array_equal(bank.images[rows], expected)
    (array,) = cache.glob("*.npy")
    assert array.name.startswith("mini_imagenet-12x12-")


def test_opening_reads_no_image(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes(source(root, cache).load())
    monkeypatch.setattr(image_files, "decode", None)
    assert hashes(source(root, cache).load()) == before


def test_another_file_is_another_array(root: Path, cache: Path) -> None:
    before = source(root, cache).load()
    path = root / "images/n0000000600000002.jpg"
    path.write_bytes(encoded(pixels(99)))
    after = source(root, cache).load()
    changed = (before["test"].images != after["test"].images).flatten(1).any(1).nonzero().flatten().tolist()
    assert changed == [1] and len(list(cache.glob("*.npy"))) == 2
    assert before["train"].sha256() == after["train"].sha256() and before["test"].sha256() != after["test"].sha256()


@pytest.mark.parametrize("splits", [True, False])
def test_folders_give_the_same_array(root: Path, cache: Path, tmp_path: Path, splits: bool) -> None:
    folders = write_folders(tmp_path / "folders", root, splits=splits)
    first = next(folders.rglob("*.jpg"))
    (first.parent / f"._{first.name}").write_bytes(b"from a Mac")
    (first.parent / "notes.txt").write_bytes(b"no image")
    assert hashes(source(folders, tmp_path / "other").load()) == hashes(source(root, cache).load())


@pytest.mark.parametrize("protocol", [2, 4, 5, "python 2"])
@pytest.mark.parametrize("layout", [0, 1])
def test_pickles_give_the_same_array(root: Path, cache: Path, tmp_path: Path, layout: int, protocol: int | str) -> None:
    folder = tmp_path / "pickles"
    folder.mkdir()
    images = decoded(root)
    for split, names in CLASSES.items():
        stacked = np.stack([images[name][file] for name in names for file in sorted(images[name])])
        rows = {name: [*range(i * NUM_IMAGES, (i + 1) * NUM_IMAGES)] for i, name in enumerate(names)}
        content: dict[str, object] = {"image_data": stacked, "class_dict": rows}
        if layout == 1:
            labels = [i + 64 for i in range(len(names)) for _ in range(NUM_IMAGES)]
            numbers = {name: i + 64 for i, name in enumerate(names)}
            content = {"data": stacked, "labels": labels, "catname2label": numbers}
        (folder / PICKLES[layout][split]).write_bytes(dumped(content, protocol))
    assert hashes(source(folder, tmp_path / "other").load()) == hashes(source(root, cache).load())
    # A build that was stopped in meta-val continues there.
    plan = mini_imagenet.make_plan(folder, CLASSES, NUM_IMAGES)
    rest, everything = [*plan.read(17)], [*plan.read(0)]
    np.testing.assert_array_equal(rest, everything[17:])


def test_images_of_another_size_are_resized(root: Path, cache: Path) -> None:
    path = root / "images/n0000000100000001.jpg"
    path.write_bytes(encoded(pixels(1, 30, 50)))
    with Image.open(path) as image:
        expected = np.asarray(image.resize((12, 12), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    np.testing.assert_array_equal(source(root, cache).load()["train"].images[0], expected)


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
        assert f"{csv} is no CSV file of filename,label (" in refusal(source(root, cache))
    csv.write_bytes(b"\xff\xfe\x00")
    assert f"{csv} is no CSV file" in refusal(source(root, cache))
    csv.write_text(whole + "n0000000400000001.jpg,n00000005\n")
    assert "n0000000400000001.jpg has two labels" in refusal(source(root, cache))
    csv.write_text(whole + "n0000000600000001.jpg,n00000004\n")  # class of meta-test
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
    # A class folder may be above its split.
    (folders / "val/n00000004").rename(folders / "n00000004")
    source(folders, tmp_path / "other").load()
    (folders / "n00000004").rename(folders / "elsewhere")
    message = refusal(source(folders, cache))
    assert f"{folders} has 6 of 7 classes as folders" in message and message.endswith("missing n00000004")
    (folders / "elsewhere").rename(folders / "test/n00000004")
    assert "test/n00000004 is in the wrong place: the class belongs to val" in refusal(source(folders, cache))
    (folders / "test/n00000004").rename(folders / "val/n00000004")
    (one := next((folders / "val/n00000004").iterdir())).unlink()
    assert "the class n00000004 has 3 of 4 images" in refusal(source(folders, cache))
    one.write_bytes(encoded(pixels(3)))
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
        "keys": ({"images": images}, "has not the keys image_data and class_dict"),
        "list": ([1, 2], "has not the keys"),
        "val": (good("val"), "lacks the class n00000006: it has not the 2 classes of test"),
        "more": ({"image_data": images, "class_dict": {**rows, "n1": [0]}}, "has the class n1: it has not the 2"),
        "float": ({"image_data": images / 255, "class_dict": rows}, "the images are float64"),
        "flat": ({"image_data": images[0], "class_dict": rows}, "not uint8 (M, H, W, 3)"),
        "few": ({"image_data": images, "class_dict": {**rows, "n00000007": [0, 1, 2]}}, "n00000007 has not 4 images"),
        "twice": ({"image_data": images, "class_dict": {**rows, "n00000007": [1, 1, 2, 3]}}, "has not 4 images"),
        "far": ({"image_data": images, "class_dict": {**rows, "n00000007": [1, 2, 3, 99]}}, "each a row of the array"),
        "text": ({"image_data": images, "class_dict": {**rows, "n00000007": ["a", "b", "c", "d"]}}, "has not 4 images"),
    }.values():
        write("test", content)
        assert message in refusal(source(folder, cache))
    assert not evil.exists()
    write("test", good("test"))
    source(folder, cache).load()


REAL = Path(os.environ.get("METALEARN_DATA", "")) / "mini_imagenet"


@pytest.mark.skipif(
    not os.environ.get("METALEARN_DATA") or not (REAL / "images").is_dir(),
    reason="set METALEARN_DATA to a folder that has mini_imagenet/images",
)
def test_golden_real_images() -> None:
    plan = mini_imagenet.make_plan(REAL, read_split("mini_imagenet", "ravi"), 600)
    last = np.stack([*plan.read(60_000 - 20)])
    assert last.shape == (20, 84, 84, 3)
    assert (
        hashlib.sha256(last.tobytes()).hexdigest() == "f0510b48f582bd54584807c928aa2550cc21f591fef3bccb3695ec18a64281b3"
    )
