"""Building a mapped array: streamed, resumed, shared, and never left damaged."""

import dataclasses
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metalearn.data.bank import ClassBank
from metalearn.data.files.image_array import Plan, open_banks
from metalearn.data.files.preparation import fit
from metalearn.types import Split

SHAPE = (3, 10, 12)
SIZES: dict[Split, int] = {"train": 12, "val": 4, "test": 4}
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 10, 12, 3), dtype=np.uint8)
IMAGE_BYTES = 3 * 10 * 12
fork = multiprocessing.get_context("fork")


def plan(read: Callable[[int], Iterator[np.ndarray]] | None = None) -> Plan:
    """Returns classes of 4 images, whose rows alternate with those of the others."""
    rows = {
        split: {f"{split}{c}": np.arange(c, size, size // 4) for c in range(size // 4)} for split, size in SIZES.items()
    }
    return Plan(rows, "identity", read or (lambda start: iter(IMAGES[start:])))


def build(cache: Path, read: Callable[[int], Iterator[np.ndarray]] | None = None) -> dict[Split, ClassBank]:
    return open_banks(cache, "set", plan(read), SHAPE)


def no_reading(start: int) -> Iterator[np.ndarray]:
    raise AssertionError("the source is read again")


def in_another_process(function: Callable[..., Any], *arguments: Any) -> int:
    process = fork.Process(target=function, args=arguments)
    process.start()
    process.join(30)
    assert process.exitcode is not None
    return process.exitcode


def files(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.iterdir())


def test_banks_hold_the_images_in_their_order(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of read-only arrays
        banks = build(tmp_path / "cache")
    expected = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    assert torch.equal(torch.cat([bank.images for bank in banks.values()]), expected)
    assert {split: bank.num_classes for split, bank in banks.items()} == {"train": 3, "val": 1, "test": 1}
    assert banks["train"].names == ("train0", "train1", "train2")
    np.testing.assert_array_equal(banks["train"].rows[1], [1, 4, 7, 10])
    assert files(tmp_path / "cache") == [".json", ".npy"]
    (array,) = (tmp_path / "cache").glob("*.npy")
    np.testing.assert_array_equal(np.load(array), expected)  # NumPy can open the file


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    for bank in (*build(tmp_path).values(), *build(tmp_path, no_reading).values()):
        in_memory = ClassBank(bank.images.clone(), bank.rows, bank.names)
        assert bank.sha256() == in_memory.sha256() == dataclasses.replace(bank, known_sha256=None).sha256()
    assert len({bank.sha256() for bank in build(tmp_path).values()}) == 3


def test_opening_does_not_copy_and_pages_are_released(tmp_path: Path) -> None:
    first, second = build(tmp_path)["train"], build(tmp_path, no_reading)["train"]
    assert first.images.to("cpu").data_ptr() == first.images.data_ptr()
    with open("/proc/self/maps") as maps:
        assert sum(".npy" in line for line in maps) == 2
    before = first.images.clone()
    first.release_pages()
    assert torch.equal(first.images, before) and torch.equal(second.images, before)
    # A bank in its own memory has nothing to release.
    ClassBank(before, first.rows, first.names).release_pages()
    assert torch.equal(first.images, before)


def test_images_of_another_size_are_resized() -> None:
    image = np.repeat(np.repeat(IMAGES[0], 4, axis=0), 4, axis=1)  # (40, 48, 3)
    assert fit(image, 40, 48) is image
    assert fit(image, 10, 12).shape == (10, 12, 3)
    assert abs(fit(image, 10, 12).mean() - image.mean()) < 2


def test_a_copied_cache_is_good_and_a_changed_one_is_built_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = build(tmp_path / "cache")["test"].sha256()
    shutil.copytree(tmp_path / "cache", tmp_path / "copy", copy_function=shutil.copyfile)
    assert build(tmp_path / "copy", no_reading)["test"].sha256() == expected
    (array,) = (tmp_path / "copy").glob("*.npy")
    (record,) = (tmp_path / "copy").glob("*.json")
    # The next opening is fast again.
    assert json.loads(record.read_text())["mtime_ns"] == array.stat().st_mtime_ns
    whole, good = array.read_bytes(), record.read_bytes()
    flipped = bytes([*whole[:-1], whole[-1] ^ 1])
    for damaged in (flipped, whole[:-1], b""):
        array.write_bytes(damaged)
        with caplog.at_level(logging.WARNING):
            assert build(tmp_path / "copy")["test"].sha256() == expected
        assert "is damaged; building it again" in caplog.text
        assert array.read_bytes() == whole
        caplog.clear()
    for damaged in (b"", b"[]", b"{}", good[:-9]):
        record.write_bytes(damaged)
        assert build(tmp_path / "copy")["test"].sha256() == expected
    record.unlink()
    assert build(tmp_path / "copy")["test"].sha256() == expected
    assert array.read_bytes() == whole and files(tmp_path / "copy") == [".json", ".npy"]


def killed_at(number: int, cache: Path) -> None:
    def read(start: int) -> Iterator[np.ndarray]:
        for image in range(start, 20):
            if image == number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield IMAGES[image]

    build(cache, read)


def test_a_build_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    expected = {split: bank.sha256() for split, bank in build(tmp_path / "whole").items()}
    cache = tmp_path / "cache"
    starts = []

    def read(start: int) -> Iterator[np.ndarray]:
        starts.append(start)
        return iter(IMAGES[start:])

    for number in (0, 7, 7, 19):
        assert in_another_process(killed_at, number, cache) == -signal.SIGKILL
        assert files(cache) == [".crc", ".part"]
    (part,) = cache.glob("*.part")
    with part.open("r+b") as file:  # half an image, as after a kill during a write
        file.truncate(part.stat().st_size - IMAGE_BYTES // 2)
    banks = build(cache, read)
    assert starts == [18] and files(cache) == [".json", ".npy"]
    assert {split: bank.sha256() for split, bank in banks.items()} == expected


def slowly(cache: Path, journal: Path) -> None:
    def read(start: int) -> Iterator[np.ndarray]:
        with journal.open("a") as file:
            file.write(f"{start}\n")
        for image in IMAGES[start:]:
            time.sleep(0.01)
            yield image

    build(cache, read)


def test_processes_that_build_at_once_build_one(tmp_path: Path) -> None:
    cache, journal = tmp_path / "cache", tmp_path / "journal"
    processes = [fork.Process(target=slowly, args=(cache, journal)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert journal.read_text() == "0\n" and files(cache) == [".json", ".npy"]
    build(cache, no_reading)


def with_little_space(cache: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # 128 bytes of header, 7 images and a part of the 8th.
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    with pytest.raises(
        OSError, match=rf"File too large; the next run continues from the 7 images in {cache}/.*\.part$"
    ):
        build(cache)


def test_a_disk_that_becomes_full(tmp_path: Path) -> None:
    assert in_another_process(with_little_space, tmp_path / "cache") == 0
    assert files(tmp_path / "cache") == [".crc", ".part"]
    starts = []
    banks = build(tmp_path / "cache", lambda start: starts.append(start) or iter(IMAGES[start:]))
    assert starts == [7] and torch.equal(banks["test"].images[-1], torch.from_numpy(IMAGES[-1]).permute(2, 0, 1))


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=7000))
    message = r"has 0.00 GB free, but the images need 0.00 GB; nothing was written$"
    with pytest.raises(OSError, match=message) as caught:
        build(tmp_path / "cache")
    assert "\n" not in str(caught.value) and files(tmp_path / "cache") == []
    monkeypatch.undo()
    build(tmp_path / "cache")


def test_a_source_that_is_damaged_leaves_nothing(tmp_path: Path) -> None:
    def damaged(start: int) -> Iterator[np.ndarray]:
        yield from IMAGES[start:9]
        raise ValueError("image 9 is damaged")

    with pytest.raises(ValueError, match="^image 9 is damaged$"):
        build(tmp_path, damaged)
    assert files(tmp_path) == []
    for count, message in ((19, "gave fewer images: 19 instead of 20"), (21, "gave more images, .*: 21 instead of 20")):
        images = np.resize(IMAGES, (count, *IMAGES.shape[1:]))
        with pytest.raises(ValueError, match=message):
            build(tmp_path, lambda start, images=images: iter(images[start:]))
        assert files(tmp_path) == []
    build(tmp_path)


def test_a_source_that_cannot_be_read_keeps_what_was_built(tmp_path: Path) -> None:
    def unplugged(start: int) -> Iterator[np.ndarray]:
        yield from IMAGES[start:9]
        raise OSError("the network is down")

    with pytest.raises(OSError, match=r"^the network is down; the next run continues from the 9 images in "):
        build(tmp_path, unplugged)
    assert files(tmp_path) == [".crc", ".part"]
    build(tmp_path)
    assert files(tmp_path) == [".json", ".npy"]
