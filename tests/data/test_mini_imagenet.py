"""miniImageNet in each of its layouts, with 7 classes of 4 small images instead of 100 of 600."""

import hashlib
import os
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
