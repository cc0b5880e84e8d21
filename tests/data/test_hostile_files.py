"""Malicious or endless files: each gives one line, in little time and memory."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omniglot_files import drawings, refusal, write_zips
from own_images import refusal as refusal_of_folder
from own_images import write
from tiny_images import encoded, pixels

from metalearn.data.cifar100 import ARCHIVE, FOLDER, make_plan
from metalearn.data.files import cache as caches
from metalearn.data.files.any_image import decode
from metalearn.data.files.cache import cached
from metalearn.data.files.class_files import files_by_list
from metalearn.data.files.idx import read_idx
from metalearn.data.files.pickles import load_plain
from metalearn.data.files.regular import open_regular, read_regular
from metalearn.data.files.source import check_memory, image_shape
from metalearn.data.manifest import read_manifest
from metalearn.data.table import read_table
from metalearn.data.text.reading import read_texts

GIGABYTES = 3_000_000_000


def zeros(size: int, head: bytes = b"") -> bytes:
    """Gzips `head` and `size` zero bytes without holding them in memory."""
    packer = zlib.compressobj(9, wbits=31)
    chunk = bytes(1 << 20)
    return packer.compress(head) + b"".join(packer.compress(chunk) for _ in range(size >> 20)) + packer.flush()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10_000, 28, 28), "it has more than 7,840,000 bytes"),
        ((10_000, 280, 1000), "its header declares 2,800,000,000 bytes; MNIST has 54,880,000 at most"),
    ],
)
def test_a_gzip_of_more_than_its_format_holds(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(zeros(100 << 20, struct.pack(">4B3I", 0, 0, 8, 3, *shape)))
    with pytest.raises(ValueError, match="is damaged") as caught:
        read_idx(path, axes=3)
    assert f"{path} is damaged ({message}); replace it" in str(caught.value)


def test_a_zip_whose_members_are_too_large(tmp_path: Path) -> None:
    name, content = next(iter(drawings().items()))
    write_zips(tmp_path, drawings() | {name: content + bytes(1 << 17)})
    assert f"{name} has {len(content) + (1 << 17):,} bytes unpacked; a drawing has few" in refusal(tmp_path, tmp_path)


def archive(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Returns a tar.gz of one member whose header claims this size."""
    member = tarfile.TarInfo(f"{FOLDER}/meta")
    member.size, member.type = size, kind
    return zeros(300 << 20, member.tobuf())


# A file; a header that tarfile holds in memory.
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE])
def test_a_tar_that_unpacks_to_very_much(tmp_path: Path, kind: bytes) -> None:
    (path := tmp_path / ARCHIVE).write_bytes(archive(GIGABYTES, kind))
    with pytest.raises(ValueError, match=rf"^cannot read {path} \(it holds more than 268,435,456 bytes unpacked\)"):
        next(make_plan(path, {"train": ("a",)}, 1).read(0))


def test_a_tar_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE
    with tarfile.open(path, "w:gz") as file:
        file.addfile(tarfile.TarInfo(f"{FOLDER}/../../evil"))
    with pytest.raises(ValueError, match="would be written outside its folder"):
        next(make_plan(path, {"train": ("a",)}, 1).read(0))


def nested(depth: int) -> bytes:
    """Pickles a list of ten references to the previous list, `depth` times: 10 ** depth leaves."""
    opcodes = b"".join(
        b"(" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"lq" + bytes([level + 1])
        for level in range(depth)
    )
    return b"\x80\x02]q\x000" + opcodes + b"."


def test_a_pickle_of_lists_in_lists(tmp_path: Path) -> None:
    (path := tmp_path / "x.pkl").write_bytes(nested(9))
    assert path.stat().st_size < 300
    with pytest.raises(ValueError, match=r"bytes stand for more items than that\)$"):
        load_plain(path)
    path.write_bytes(nested(1))
    assert load_plain(path) == [[]] * 10


def test_an_image_of_very_many_pixels() -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for side, count in ((10_000, "100000000"), (32_000, "1024000000")):
        header = chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0))
        content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        with pytest.raises(ValueError, match=rf"^Image size \({count} pixels\) exceeds limit of \d+ pixels, could be"):
            decode(content, 3)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("make", SPECIAL.values(), ids=[*SPECIAL])
def test_what_is_no_regular_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(path := write(tmp_path / "images") / "class d/9.png")
    with pytest.raises(ValueError, match=f"^{path} is not a regular file$"):
        open_regular(path)
    with pytest.raises(ValueError, match=f"^{path} is not a regular file$"):
        load_plain(path)
    assert refusal_of_folder(tmp_path / "images") == f"folder: {path} is not a regular file"
    (listed := tmp_path / "list.csv").write_text("path,label\nimages/class d/0.png,d\nimages/class d/9.png,d\n")
    assert refusal_of_folder(listed).endswith(f"path,label (line 3: {path} is not a regular file)")
    make(manifest := tmp_path / "split.csv")
    path.unlink()
    assert f"{manifest} is not a regular file" in refusal_of_folder(tmp_path / "images", manifest=str(manifest))


def test_a_file_larger_than_any_image(tmp_path: Path) -> None:
    with (path := tmp_path / "x.png").open("wb") as file:
        file.truncate(GIGABYTES)
    with pytest.raises(
        ValueError, match=f"^{path} has 3,000,000,000 bytes, more than the 1,000 that such a file may have$"
    ):
        read_regular(path, 1000)


READERS: list[Callable[[Path], object]] = [
    lambda path: read_table(path, "label"),
    lambda path: read_texts(path, fewest=1),  # as metalearn.predict reads --support
    files_by_list,
    read_manifest,
]


@pytest.mark.parametrize("read", READERS, ids=["table", "texts", "images", "manifest"])
def test_a_list_larger_than_any(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with (path := tmp_path / "x.csv").open("wb") as file:
        file.truncate(1000 * GIGABYTES)
    with pytest.raises(ValueError, match=r"x.csv has 3,000,000,000,000 bytes, more than the 1,073,741,824 that such"):
        read(path)


def test_sizes_that_no_memory_holds() -> None:
    assert image_shape("x", [1, 28, 28], [1]) == (1, 28, 28)
    for shape, message in (
        ([1, 100_000, 100_000], "input_shape is [1, 100000, 100000], more than 16,777,216 numbers an image"),
        ([1, 0, 28], "input_shape is [1, 0, 28]; it must be [channels, height, width]"),
        ([1, 28], "input_shape is [1, 28]; it must be [channels, height, width]"),
        ([2, 28, 28], "images have 1 channel or 3 channels, but input_shape asks for 2"),
    ):
        with pytest.raises(ValueError, match=".") as caught:
            image_shape("x", shape, [1, 3])
        assert str(caught.value) == f"x: {message}"
    with pytest.raises(ValueError, match=r"^the data set takes 1,000,000,000.0 GB, but the memory has [\d,.]+ GB$"):
        check_memory(10**18)


def test_no_damage_of_a_cache_is_read_or_raised(tmp_path: Path) -> None:
    arrays = {"images": pixels(0, 4, 4), "names": np.array(["a", "b"]), "empty": np.zeros((0, 3))}
    path = tmp_path / "x.npz"
    cached(path, lambda: arrays)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [*rng.integers(0, len(whole), 150), *range(len(whole) - 60, len(whole))]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        found = cached(path, lambda: arrays)
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    with zipfile.ZipFile(io.BytesIO(whole)) as held, zipfile.ZipFile(path, "w") as fewer:
        for name in held.namelist():
            if name != "empty.npy":
                fewer.writestr(name, held.read(name))
    assert cached(path, lambda: arrays).keys() == arrays.keys()


def test_a_cache_that_cannot_be_written_says_how_to_have_another(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = r"^cannot write into the cache .*/file/cache \(.*\); METALEARN_CACHE=FOLDER or paths.cache=FOLDER puts"
    for target in (tmp_path / "file/cache", tmp_path / "file"):
        with pytest.raises(
            OSError, match=message.replace("/file/cache", "/file") if target.name == "file" else message
        ):
            cached(target / "x.npz", dict)
    with pytest.raises(OSError, match="METALEARN_CACHE"), caches.writing_to_cache(tmp_path):
        raise PermissionError(13, "Permission denied")


def test_gzip_of_a_good_file_is_read_to_its_checksum(tmp_path: Path) -> None:
    content = struct.pack(">4B3I", 0, 0, 8, 3, 1, 2, 2) + b"abcd"
    (path := tmp_path / "x.gz").write_bytes(gzip.compress(content))
    assert read_idx(path, axes=3).tolist() == [[[97, 98], [99, 100]]]
    path.write_bytes(gzip.compress(content)[:-8] + bytes(8))
    with pytest.raises(ValueError, match="CRC check failed"):
        read_idx(path, axes=3)
    assert decode(encoded(pixels(0), "PNG"), 3).size == (12, 12)
