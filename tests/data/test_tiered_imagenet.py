"""tieredImageNet in its layouts, with 7 classes of a few small images instead of 608."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny_images import CLASSES, NUM_IMAGES, SHAPE, dumped, encoded, pixels, refusal, write_csv_layout, write_folders

from metalearn.data import mini_imagenet, tiered_imagenet
from metalearn.data.files.image_array import open_banks
from metalearn.data.splits import known_splits, read_split
from metalearn.data.tiered_imagenet import TieredImageNet
from metalearn.types import SPLITS, Split


@pytest.fixture(autouse=True)
def few_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiered_imagenet, "read_split", lambda dataset, split: CLASSES)


def source(root: Path, cache: Path) -> TieredImageNet:
    return TieredImageNet(str(root), cache=str(cache), input_shape=[*SHAPE])


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    return write_folders(tmp_path / "folders", write_csv_layout(tmp_path / "images"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_published_split() -> None:
    assert known_splits("tiered_imagenet") == ["ren"]
    parts = list(read_split("tiered_imagenet", "ren").values())
    assert list(map(len, parts)) == [351, 97, 160]
    assert len(set(sum(parts, ()))) == 608
    assert all(list(part) == sorted(part) for part in parts)


def test_settings_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^tiered_imagenet: images have 3 channels, but input_shape asks for 1$"):
        TieredImageNet("", cache="", input_shape=[1, 84, 84])
    assert "has no images; put there train/, val/ and test/" in refusal(source(tmp_path, tmp_path / "cache"))


def test_folders_by_number(folders: Path, cache: Path, tmp_path: Path) -> None:
    (extra := folders / "train/n00000002/zebra.PNG").write_bytes(encoded(pixels(50), "PNG"))
    banks = source(folders, cache).load()
    assert {split: bank.names for split, bank in banks.items()} == CLASSES
    assert [len(rows) for rows in banks["train"].rows] == [4, 5, 4] and banks["train"].smallest_class == 4
    image = banks["train"].images[banks["train"].rows[1][-1]]
    np.testing.assert_array_equal(image, pixels(50).transpose(2, 0, 1))
    extra.unlink()
    same = open_banks(cache, "same", mini_imagenet.make_plan(tmp_path / "images", CLASSES, NUM_IMAGES), SHAPE)
    assert {split: bank.sha256() for split, bank in source(folders, cache).load().items()} == {
        split: bank.sha256() for split, bank in same.items()
    }


def test_bad_folders(folders: Path, cache: Path) -> None:
    (folders / "val/n00000004").rename(folders / "elsewhere")
    assert refusal(source(folders, cache)).endswith("missing n00000004")
    (folders / "elsewhere").rename(folders / "train/n00000004")
    assert "train/n00000004 is in the wrong place: the class belongs to val" in refusal(source(folders, cache))
    (folders / "train/n00000004").rename(folders / "val/n00000004")
    for image in (folders / "val/n00000004").iterdir():
        image.rename(folders / image.name)
    assert "has classes without images: val/n00000004" in refusal(source(folders, cache))
    for image in folders.glob("*.jpg"):
        image.rename(folders / "val/n00000004" / image.name)
    damaged = folders / "test/n00000007/n0000000700000001.jpg"
    whole = damaged.read_bytes()
    damaged.write_bytes(b"text")
    assert f"{damaged} is damaged, or no JPEG or PNG image (" in refusal(source(folders, cache))
    damaged.write_bytes(whole)
    source(folders, cache).load()


def test_folders_of_other_names(folders: Path, cache: Path) -> None:
    for split in SPLITS:
        for number, folder in enumerate(sorted((folders / split).iterdir())):
            folder.rename(folder.with_name(f"{split} {number}"))
    assert source(folders, cache).load()["val"].names == ("val 0", "val 1")
    (folders / "val/val 1").rename(folders / "val/train 0")
    other = cache / "other"
    assert "classes are in two splits: train 0" in refusal(source(folders, other))
    (folders / "val/train 0").rename(folders / "val 1")
    assert "val has 1 of 2 class folders" in refusal(source(folders, other))


def write_pickles(root: Path, protocol: int | str = 2) -> dict[Split, list[np.ndarray]]:
    """Writes the authors' pickles: images of all classes mixed, of unequal numbers."""
    root.mkdir(exist_ok=True)
    images: dict[Split, list[np.ndarray]] = {}
    for seed, split in enumerate(SPLITS):
        count = len(CLASSES[split])
        labels = np.random.default_rng(seed).permutation([i for i in range(count) for _ in range(i + 2)])
        images[split] = [pixels(100 * seed + i) for i in range(len(labels))]
        pngs = [np.frombuffer(encoded(image, "PNG"), np.uint8)[:, None] for image in images[split]]
        words = {"label_specific": labels.astype(np.int32), "label_specific_str": ["crane"] * count}
        (root / f"{split}_images_png.pkl").write_bytes(dumped(pngs, protocol))
        (root / f"{split}_labels.pkl").write_bytes(dumped(words, protocol))
    return images


@pytest.mark.parametrize("protocol", [2, 4, 5, "python 2"])
def test_pickles(tmp_path: Path, cache: Path, protocol: int | str) -> None:
    images = write_pickles(tmp_path / "pickles", protocol)
    banks = source(tmp_path / "pickles", cache).load()
    for split, bank in banks.items():
        np.testing.assert_array_equal(bank.images, np.stack(images[split]).transpose(0, 3, 1, 2))
        assert [len(rows) for rows in bank.rows] == [i + 2 for i in range(len(CLASSES[split]))]
        assert sorted(np.concatenate(bank.rows)) == [*range(len(bank.images))]
    assert banks["train"].names == ("train/000 crane", "train/001 crane", "train/002 crane")
    plan = tiered_imagenet.make_plan(tmp_path / "pickles", CLASSES)
    everything = [image for of_split in images.values() for image in of_split]
    for start in (0, 5, 9, 11, len(everything) - 1):
        np.testing.assert_array_equal([*plan.read(start)], everything[start:])


def test_bad_pickles(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "pickles"
    write_pickles(root)
    labels, pngs = root / "val_labels.pkl", root / "val_images_png.pkl"
    good_labels, good_pngs = labels.read_bytes(), pngs.read_bytes()
    content = pickle.loads(good_labels)
    for change, message in (
        ({"label_specific": content["label_specific"][:-1]}, "has 5 images, but val_labels.pkl has 4 labels"),
        ({"label_specific": content["label_specific"] + 1}, "the labels are not the numbers 0 to 1"),
        ({"label_specific": np.zeros(5)}, "labels float64 (5,), not 2"),
        ({"label_specific_str": ["a"]}, "has 1 classes"),
        ({"label_specific": 3}, "lacks the keys label_specific"),
    ):
        labels.write_bytes(pickle.dumps({**content, **change}))
        assert message in refusal(source(root, cache))
    labels.write_bytes(good_labels)
    pngs.unlink()
    assert "val_images_png.pkl is missing beside the other pickles" in refusal(source(root, cache))
    pngs.write_bytes(good_pngs[:-300])
    assert "val_images_png.pkl is a damaged pickle" in refusal(source(root, cache))
    pngs.write_bytes(good_pngs.replace(b"IDAT", b"IDAX", 1))
    assert f"image 1 of {pngs} is damaged, or no JPEG or PNG image" in refusal(source(root, cache))
    pngs.write_bytes(good_pngs)
    source(root, cache).load()
