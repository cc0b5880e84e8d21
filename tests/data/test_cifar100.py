"""CIFAR-FS and FC100 in CIFAR-100's layout, with 7 classes of 4 images instead of 100 of 600."""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_images import CLASSES, NUM_IMAGES, dumped, refusal

from metalearn.data.bank import ClassBank
from metalearn.data.cifar100 import ARCHIVE, CIFAR100, FOLDER, make_plan
from metalearn.data.splits import known_splits, read_split
from metalearn.types import Split

# In another order than the splits.
NAMES = sorted(name for names in CLASSES.values() for name in names)[::-1]
SUPERCLASSES = {  # FC100, with the first class of each of the 20
    "train": {"aquarium_fish", "orchid", "bottle", "apple", "clock", "bed", "bridge", "cloud", "crocodile"},
    "val": {"bear", "camel", "crab", "hamster"},
    "test": {"beaver", "bee", "fox", "baby"},
}


def pickles() -> dict[str, Any]:
    """Returns the three files: three images of each class in `train`, one in `test`, unordered."""
    rng = np.random.default_rng(0)
    held: dict[str, Any] = {"meta": {"fine_label_names": NAMES, "coarse_label_names": ["all"]}}
    for half, count in (("train", 3), ("test", NUM_IMAGES - 3)):
        labels = rng.permutation(np.repeat(np.arange(len(NAMES)), count)).tolist()
        data = rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        held[half] = {"data": data, "fine_labels": labels, "coarse_labels": [0] * len(labels), "batch_label": half}
    return held


HELD = pickles()


def write_folder(root: Path, held: dict[str, Any] = HELD, protocol: int | str = "python 2") -> Path:
    (root / FOLDER).mkdir(parents=True)
    for name, content in held.items():
        (root / FOLDER / name).write_bytes(dumped(content, protocol))
    return root


def write_archive(root: Path, held: dict[str, Any] = HELD, prefix: str = f"{FOLDER}/") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / ARCHIVE, "w:gz") as archive:
        for name, content in {"file.txt~": "an editor's copy", **held}.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(pickled := dumped(content, "python 2"))
            archive.addfile(member, io.BytesIO(pickled))
    return root


@pytest.fixture(autouse=True)
def few_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metalearn.data.cifar100.read_split", lambda dataset, split: CLASSES)
    monkeypatch.setattr("metalearn.data.cifar100.NUM_IMAGES", NUM_IMAGES)


def source(root: Path, cache: Path, size: int = 32) -> CIFAR100:
    nowhere = "http://127.0.0.1:9"  # address without a server
    return CIFAR100(str(root), cache=str(cache), split="fc100", input_shape=[3, size, size], url=nowhere)


def test_published_splits() -> None:
    assert known_splits("cifar100") == ["cifar_fs", "fc100"]
    everything = []
    for split, sizes in {"cifar_fs": [64, 16, 20], "fc100": [60, 20, 20]}.items():
        parts = list(read_split("cifar100", split).values())
        assert list(map(len, parts)) == sizes
        assert all(list(part) == sorted(part) for part in parts)
        everything.append(set(sum(parts, ())))
    assert len(everything[0]) == 100 and everything[0] == everything[1]
    for part, names in read_split("cifar100", "fc100").items():
        assert set(names) >= SUPERCLASSES[part]


def test_both_halves_of_a_class_are_its_images(tmp_path: Path) -> None:
    banks = source(write_folder(tmp_path), tmp_path / "cache").load()
    for split, names in CLASSES.items():
        bank: ClassBank = banks[split]
        assert bank.names == names and bank.images.shape == (len(names) * NUM_IMAGES, 3, 32, 32)
        for name, rows in zip(names, bank.rows, strict=True):
            halves = [
                HELD[half]["data"][np.array(HELD[half]["fine_labels"]) == NAMES.index(name)]
                for half in ("train", "test")
            ]
            # A row has all of red, then of green, then of blue.
            np.testing.assert_array_equal(bank.images[rows].flatten(1), np.concatenate(halves))


@pytest.mark.parametrize("protocol", [2, 5, "python 2"])
def test_folder_and_archive_give_the_same(tmp_path: Path, protocol: int | str) -> None:
    root = write_folder(tmp_path / "folder", protocol=protocol)
    expected = {split: bank.sha256() for split, bank in source(root, tmp_path / "a").load().items()}
    for prefix in (f"{FOLDER}/", f"./{FOLDER}/"):
        banks = source(write_archive(tmp_path / "archive", prefix=prefix), tmp_path / "b").load()
        assert {split: bank.sha256() for split, bank in banks.items()} == expected
    # Nothing is unpacked.
    assert [path.name for path in (tmp_path / "archive").iterdir()] == [ARCHIVE]
    # A stopped build continues where it was.
    plan = make_plan(tmp_path / "archive" / ARCHIVE, CLASSES, NUM_IMAGES)
    np.testing.assert_array_equal([*plan.read(17)], [*plan.read(0)][17:])


def test_another_size_is_resized(tmp_path: Path) -> None:
    image = source(write_archive(tmp_path), tmp_path / "cache", 84).load()["val"].images[0]
    first = HELD["train"]["data"][HELD["train"]["fine_labels"].index(NAMES.index(CLASSES["val"][0]))]
    small = Image.fromarray(first.reshape(3, 32, 32).transpose(1, 2, 0))
    np.testing.assert_array_equal(
        image, np.asarray(small.resize((84, 84), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    )
    with pytest.raises(ValueError, match="^fc100: images have 3 channels, but input_shape asks for 1$"):
        CIFAR100("", cache="", split="fc100", input_shape=[1, 32, 32], url="")


def test_missing_data_says_what_to_put_where(tmp_path: Path) -> None:
    images = source(tmp_path, tmp_path / "cache")
    message = refusal(images)
    assert f"{FOLDER} is missing; put {ARCHIVE} or {FOLDER} into {tmp_path}" in message
    assert "refused" in message and list(tmp_path.iterdir()) == []
    (write_folder(tmp_path) / FOLDER / "meta").unlink()
    assert f"{FOLDER}/meta is missing beside the other files of {FOLDER}" in refusal(images)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    cache, path = tmp_path / "cache", write_archive(tmp_path) / ARCHIVE
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 255
    damaged = [b"", b"no archive", *(whole[:end] for end in range(100, len(whole), 20_000)), bytes(flipped)]
    for content in damaged:
        path.write_bytes(content)
        message = refusal(source(tmp_path, cache))
        assert message.startswith(f"fc100: cannot read {path} (")
        assert message.endswith("); replace it, or delete it to have it downloaded")
    write_archive(tmp_path, {name: content for name, content in HELD.items() if name != "test"})
    assert f"it has no {FOLDER}/test" in refusal(source(tmp_path, cache))
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo(f"{FOLDER}/meta")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert f"the member '{FOLDER}/meta' is a link" in refusal(source(tmp_path, cache))
    path.write_bytes(whole)
    source(tmp_path, cache).load()


class Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_other_content_is_refused(tmp_path: Path) -> None:
    cache, evil = tmp_path / "cache", tmp_path / "evil"
    images, labels = HELD["train"]["data"], HELD["train"]["fine_labels"]
    other = [label if label != NAMES.index("n00000004") else 0 for label in labels]
    cases: list[tuple[str, object, str]] = [
        ("meta", {"fine_label_names": Code(evil)}, "it asks for posix.mkdir"),
        ("test", Code(evil), "it asks for posix.mkdir"),
        ("meta", {"label_names": NAMES}, "meta lacks the key fine_label_names"),
        ("meta", {"fine_label_names": [n.replace("4", "x") for n in NAMES]}, "lacks 1 of 7 classes: n00000004"),
        ("train", {"data": images}, "train lacks the keys data and fine_labels"),
        ("train", {"data": images[:-1], "fine_labels": labels}, "21 labels, but the images are uint8 (20, 3072)"),
        ("train", {"data": images / 255, "fine_labels": labels}, "the images are float64 (21, 3072)"),
        ("train", {"data": images, "fine_labels": other}, "the class n00000004 has 1 of 4 images"),
    ]
    for number, (name, content, message) in enumerate(cases):
        held = {**HELD, name: content}
        assert message in refusal(source(write_folder(tmp_path / f"folder{number}", held, 2), cache))
        assert message in refusal(source(write_archive(tmp_path / f"archive{number}", held | {name: content}), cache))
    assert not evil.exists()


def test_the_two_splits_share_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = write_archive(tmp_path), tmp_path / "cache"
    first = source(root, cache).load()
    turned: dict[Split, tuple[str, ...]] = {**CLASSES, "val": CLASSES["test"], "test": CLASSES["val"]}
    monkeypatch.setattr("metalearn.data.cifar100.read_split", lambda dataset, split: turned)
    second = source(root, cache).load()
    assert first["val"].sha256() == second["test"].sha256() != first["test"].sha256()
    assert len(list(cache.glob("fc100-32x32-*.npy"))) == 2
