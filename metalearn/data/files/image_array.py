"""Image arrays too large for memory: streamed into a .npy file once, then mapped from it.

A mapped file opens at once. It needs memory only for pages that are read, and processes share them.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import logging
import math
import mmap
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from metalearn.data.bank import ClassBank, content_sha256
from metalearn.data.files.cache import writing_to_cache
from metalearn.data.files.preparation import fit
from metalearn.files import write_text
from metalearn.types import Split

log = logging.getLogger(__name__)

PROCESSING = 1  # part of the file's name; increase it when `fit` changes its pixels
CHUNK = 1 << 22  # bytes
CRC = 4  # bytes of a checksum
READ_THROUGH = 1 << 31
"""Size in bytes up to which the content is verified at every start.

The check takes a second for miniImageNet. A larger file is trusted while its size and the time of
its last change are unchanged.
"""


@dataclass(frozen=True)
class Plan:
    """Content of a source, known before any image is read."""

    # Rows of the images of each class in its split, int64.
    rows: dict[Split, dict[str, np.ndarray]]
    identity: str  # identity of the source; it changes with any of its files
    # Reads the images from the n-th on, split after split, (H, W, C) uint8.
    read: Callable[[int], Iterator[np.ndarray]]

    def num_images(self, split: Split) -> int:
        return sum(map(len, self.rows[split].values()))


def open_banks(cache: Path, name: str, plan: Plan, input_shape: tuple[int, int, int]) -> dict[Split, ClassBank]:
    """Opens the banks of a plan, mapped from a file in the folder `cache`, built if absent.

    A killed build is kept and continued, and processes that want the same file wait for the first.
    Raises ValueError if the source is damaged (the part is deleted), and OSError if the disk fails
    or is full (the part is kept), each in one line.
    """
    _, height, width = input_shape
    key = hashlib.sha256(f"{PROCESSING} {height} {width}\n{plan.identity}".encode()).hexdigest()[:16]
    array = _ArrayFile(cache / f"{name}-{height}x{width}-{key}.npy", plan, input_shape)
    digests = array.known_sha256() or array.build(name)
    # Copy on write makes the map writable, as torch requires. All processes share the pages, since
    # nobody writes.
    with array.path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), array.size, access=mmap.ACCESS_COPY)
    images = torch.frombuffer(mapping, dtype=torch.uint8, offset=len(array.header)).view(array.shape)
    banks: dict[Split, ClassBank] = {}
    begin = 0
    for split, classes in plan.rows.items():
        end = begin + plan.num_images(split)
        rows, names = tuple(classes.values()), tuple(classes)
        banks[split] = ClassBank(images[begin:end], rows, names, mapping, digests[split])
        begin = end
    return banks


class _ArrayFile:
    """File of one plan, with `<path>.part` during its build, and a record of the result."""

    def __init__(self, path: Path, plan: Plan, input_shape: tuple[int, int, int]) -> None:
        self.path, self.plan = path, plan
        self.part = path.with_name(path.name + ".part")
        self.sums = path.with_name(path.name + ".crc")  # checksums of the images in the part
        self.record = path.with_suffix(".json")
        self.shape = (sum(map(plan.num_images, plan.rows)), *input_shape)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": self.shape})
        self.header = header.getvalue()
        self.row_size = math.prod(input_shape)
        self.size = len(self.header) + self.shape[0] * self.row_size

    def known_sha256(self) -> dict[Split, str] | None:
        """Returns the banks' hashes from the build, or None without the file of that build."""
        try:
            record = json.loads(self.record.read_text())
            whole = record.get("checksum") == _checksum(record["sha256"], record["mtime_ns"])
            stat = self.path.stat()
            same = whole and (stat.st_size, stat.st_mtime_ns) == (self.size, record["mtime_ns"])
            if same and self.size > READ_THROUGH:
                return record["sha256"]
            with self.path.open("rb") as file:
                if stat.st_size == self.size and self._sha256(file) == record["sha256"]:
                    if not same:
                        log.info("%s was copied after it was built, and is intact", self.path)
                        with contextlib.suppress(OSError):  # the cache may be read-only
                            self._write_record(record["sha256"], stat.st_mtime_ns)
                    return record["sha256"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        log.warning("the cache %s, or its record %s, is damaged; building it again", self.path, self.record.name)
        return None

    def build(self, title: str) -> dict[Split, str]:
        """Builds the file, or its missing part, and returns the hashes of its banks."""
        while True:
            with writing_to_cache(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                file = self.part.open("a+b", buffering=0)
            with file:
                self._wait_for_others(file)
                if not self.part.exists() or not os.path.samefile(self.part, file.fileno()):
                    if digests := self.known_sha256():
                        return digests
                    continue  # while this process waited, another one gave up
                try:
                    self._append(file, title)
                except ValueError:
                    self._delete_part()
                    raise
                except OSError as error:
                    raise OSError(f"{error}; {self._what_is_kept(file)}") from error
                sha256 = self._sha256(file)
                self._write_record(sha256, os.fstat(file.fileno()).st_mtime_ns)
                self.sums.unlink(missing_ok=True)
                os.replace(self.part, self.path)
                return sha256

    def _wait_for_others(self, file: io.FileIO) -> None:
        # Some network file systems have no locks. Two processes may then append the same images,
        # and the size reveals it.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another process is building %s; waiting for it", self.path)
                fcntl.flock(file, fcntl.LOCK_EX)

    def _append(self, file: io.FileIO, title: str) -> None:
        """Appends the missing images to the part: complete, in order, each with a checksum."""
        done = self._num_good(file)
        self._check_space(done * self.row_size)
        if done:
            file.truncate(len(self.header) + done * self.row_size)
        else:
            file.truncate(0)
            _write(file, self.header)
        bar = Progress(console=Console(stderr=True), transient=True)
        with bar, self.sums.open("ab", buffering=0) as sums:
            sums.truncate(done * CRC)
            task = bar.add_task(title, total=self.shape[0], completed=done)
            for image in self.plan.read(done):
                fitted = np.ascontiguousarray(fit(image, *self.shape[2:]).transpose(2, 0, 1)).data.cast("B")
                _write(file, fitted)
                _write(sums, zlib.crc32(fitted).to_bytes(CRC, "little"))
                bar.advance(task)
        os.fsync(file.fileno())
        if (size := os.fstat(file.fileno()).st_size) != self.size:
            count = (size - len(self.header)) // self.row_size
            why = "gave fewer images" if size < self.size else "gave more images, or two processes wrote at once"
            raise ValueError(f"the source {why}: {count:,} instead of {self.shape[0]:,}; {self.part} is deleted")

    def _num_good(self, file: io.FileIO) -> int:
        """Counts the intact images at the start of the part; the rest is read again."""
        sums = self.sums.read_bytes() if self.sums.exists() else b""
        file.seek(0)
        if file.read(len(self.header)) != self.header:
            return 0
        for number in range(min(len(sums) // CRC, self.shape[0])):
            image = file.read(self.row_size)
            if len(image) < self.row_size or zlib.crc32(image).to_bytes(CRC, "little") != sums[CRC * number :][:CRC]:
                return number
        return min(len(sums) // CRC, self.shape[0])

    def _delete_part(self) -> None:
        self.sums.unlink(missing_ok=True)
        self.part.unlink()

    def _check_space(self, present: int) -> None:
        needed, free = self.size - present, shutil.disk_usage(self.part.parent).free
        if free < needed:
            raise OSError(f"{self.part.parent} has {free / 1e9:.2f} GB free, but the images need {needed / 1e9:.2f} GB")

    def _what_is_kept(self, file: io.FileIO) -> str:
        done = max(0, os.fstat(file.fileno()).st_size - len(self.header)) // self.row_size
        if not done:
            self._delete_part()
            return "nothing was written"
        return f"the next run continues from the {done:,} images in {self.part}"

    def _sha256(self, file: io.FileIO | io.BufferedReader) -> dict[Split, str]:
        """Hashes each bank in pieces; hashing a map would count all its pages as memory."""

        def pieces(size: int) -> Iterator[bytes]:
            while size and (piece := file.read(min(size, CHUNK))):
                yield piece
                size -= len(piece)

        file.seek(len(self.header))
        return {
            split: content_sha256(classes, classes.values(), pieces(self.plan.num_images(split) * self.row_size))
            for split, classes in self.plan.rows.items()
        }

    def _write_record(self, sha256: dict[Split, str], mtime_ns: int) -> None:
        checksum = _checksum(sha256, mtime_ns)
        text = json.dumps({"sha256": sha256, "mtime_ns": mtime_ns, "checksum": checksum}, indent=1)
        write_text(self.record, text)


def _checksum(sha256: dict[Split, str], mtime_ns: int) -> str:
    """Computes the checksum of a record."""
    return hashlib.sha256(json.dumps([sha256, mtime_ns], sort_keys=True).encode()).hexdigest()


def _write(file: io.FileIO, content: bytes | memoryview) -> None:
    left = memoryview(content)
    while left:  # a disk that becomes full takes a part, and refuses the next
        left = left[file.write(left) :]
