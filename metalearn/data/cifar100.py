"""CIFAR-100: 100 classes of 600 colour images of 32 x 32 pixels, split as CIFAR-FS or FC100.

Alex Krizhevsky: Learning Multiple Layers of Features from Tiny Images. Technical report, University
of Toronto 2009. CIFAR-FS: Luca Bertinetto, João Henriques, Philip Torr, Andrea Vedaldi:
Meta-learning with differentiable closed-form solvers. ICLR 2019, arXiv:1805.08136. FC100: Boris
Oreshkin, Pau Rodríguez, Alexandre Lacoste: TADAM: Task dependent adaptive metric for improved
few-shot learning. NeurIPS 2018, arXiv:1805.10123.
"""

import gzip
import hashlib
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.data.files.download import check_member, found_or_downloaded
from metalearn.data.files.image_array import Plan
from metalearn.data.files.image_files import ClassLists, equal_rows
from metalearn.data.files.names import some
from metalearn.data.files.pickles import load_plain, read_plain
from metalearn.data.files.regular import Limited, file_version, open_regular
from metalearn.data.photographs import AbstractPhotographs
from metalearn.data.splits import read_split

FOLDER = "cifar-100-python"
ARCHIVE = f"{FOLDER}.tar.gz"
MD5 = "eb9058c3a382ffc7106e4002c42a8d85"  # MD5 of the official archive
META, HALVES = "meta", ("train", "test")  # Pickles: class names; 500 and 100 images of each class.
# Few-shot splits divide classes, so both halves of the images are joined.
NUM_IMAGES = 600  # images of each class
SIZE = 32  # height and width in pixels
CHUNK = 1 << 20  # bytes
LARGEST = 1 << 28  # limit of the unpacked archive in bytes; it has 187 million


class CIFAR100(AbstractPhotographs):
    """CIFAR-100 as a Source.

    Args:
        root: folder that holds the python version, as cifar-100-python.tar.gz or unpacked; an
            absent archive is downloaded to it.
        cache: folder of the cache files.
        split: `cifar_fs` (64, 16, 20 classes) or `fc100` (60, 20, 20).
        input_shape: [3, H, W].
        url: address of the folder of the archive.

    Examples:
        >>> url = "https://cave.cs.toronto.edu/kriz"
        >>> source = CIFAR100(
        ...     "data", cache="cache", split="fc100", input_shape=[3, 32, 32], url=url
        ... )
        >>> source.input_shape
        (3, 32, 32)
        >>> source.load()["test"].num_classes  # doctest: +SKIP
        20
    """

    in_imagenet = "some"  # for example chimpanzee and porcupine, in other images

    def __init__(self, root: str, *, cache: str, split: str, input_shape: list[int], url: str) -> None:
        super().__init__(split, read_split("cifar100", split), root, cache, input_shape)
        self.url = url

    def plan(self) -> Plan:
        path = found_or_downloaded(self.root / FOLDER, self.root / ARCHIVE, f"{self.url}/{ARCHIVE}", md5=MD5)
        return make_plan(path, self.classes, NUM_IMAGES)


def make_plan(path: Path, classes: ClassLists, num_images: int) -> Plan:
    """Plans the images of the folder or archive, `num_images` per class; reading verifies them."""
    identity = hashlib.sha256(f"{sorted(classes.items())} {num_images}\n".encode())
    for file in [path / name for name in (META, *HALVES)] if path.is_dir() else [path]:
        if not file.is_file():
            raise FileNotFoundError(f"{file.absolute()} is missing beside the other files of {FOLDER}")
        identity.update(f"{file_version(file, file.stat())}\n".encode())

    def read(start: int) -> Iterator[np.ndarray]:
        images, rows_of = _images(path, [name for names in classes.values() for name in names], num_images)
        for row in np.concatenate([*rows_of.values()])[start:]:
            yield images[row].reshape(3, SIZE, SIZE).transpose(1, 2, 0)

    return Plan(equal_rows(classes, num_images), identity.hexdigest(), read)


def _images(path: Path, classes: list[str], num_images: int) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Reads all images, flat, with those of `train` first, and the rows of each class.

    Raises ValueError if they differ from the published ones.
    """
    pickles = _pickles(path)
    match pickles[META]:
        case {"fine_label_names": [*names]}:
            pass
        case _:
            raise ValueError(f"{path / META} lacks the key fine_label_names")
    if missing := [name for name in classes if name not in names]:
        raise ValueError(f"{path / META} lacks {len(missing)} of {len(classes)} classes: {some(missing)}")
    images: list[np.ndarray] = []
    labels: list[int] = []
    for half in HALVES:
        match pickles[half]:
            case {"data": np.ndarray() as data, "fine_labels": [*of_half]}:
                pass
            case _:
                raise ValueError(f"{path / half} lacks the keys data and fine_labels")
        if data.dtype != np.uint8 or data.shape != (len(of_half), 3 * SIZE**2):
            raise ValueError(f"{path / half}: {len(of_half)} labels, but the images are {data.dtype} {data.shape}")
        images += [*data]
        labels += of_half
    rows = {name: np.flatnonzero(np.array(labels) == names.index(name)) for name in classes}
    for name, of_class in rows.items():
        if len(of_class) != num_images:
            raise ValueError(f"{path}: the class {name} has {len(of_class)} of {num_images} images")
    return images, rows


def _pickles(path: Path) -> dict[str, Any]:
    """Loads the three pickles from the folder, or from the archive without unpacking it."""
    if path.is_dir():
        return {name: load_plain(path / name) for name in (META, *HALVES)}
    held: dict[str, Any] = {}
    try:
        # The mode "r|gz" would not verify the checksum.
        with (
            open_regular(path) as file,
            gzip.open(file) as unpacked,
            tarfile.open(fileobj=(stream := Limited(unpacked, LARGEST)), mode="r|") as archive,  # type: ignore[call-overload]
        ):
            for member in archive:
                check_member(member.name, is_link=member.islnk() or member.issym())
                folder, _, name = member.name.removeprefix("./").partition("/")
                if folder == FOLDER and name in (META, *HALVES) and member.isfile():
                    held[name] = _member(archive, member, path / member.name)
            while stream.read(CHUNK):
                pass  # the checksum is at the end
        if missing := [name for name in (META, *HALVES) if name not in held]:
            raise ValueError(f"it has no {FOLDER}/{missing[0]}")
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"cannot read {path} ({error}); replace it, or delete it to have it downloaded") from error
    return held


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, where: Path) -> Any:
    """Loads a pickle of the archive through a file on disk; tarfile would hold it three times."""
    packed = archive.extractfile(member)
    assert packed is not None
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(packed, file)
        file.seek(0)
        return read_plain(file, where)
