"""Images of a user: a folder of images for each class, or a list of images and classes."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import PIL
from rich.console import Console

from metalearn.data.bank import ClassBank
from metalearn.data.files.any_image import LARGEST, MODES
from metalearn.data.files.class_files import ADVICE, SplitFiles, files_by_folder, files_by_list, split_folders
from metalearn.data.files.image_array import open_banks
from metalearn.data.files.image_files import plan_of_files
from metalearn.data.files.inspection import DARK, Inspection, look_through
from metalearn.data.files.names import some
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.regular import read_regular
from metalearn.data.files.source import image_shape, named
from metalearn.data.manifest import Division, complete
from metalearn.data.overlap import may_be_learnt
from metalearn.types import Split

log = logging.getLogger(__name__)

PROCESSING = 3  # part of the cache keys; increase it when `Preparation` changes its pixels


class Folder:
    """Images of a user as a Source, of any format and size, with classes of any size.

    A root without train/, val/ and test/ is split by the manifest. An absent manifest is drawn and
    written.

    Args:
        root: folder of images, or CSV file of path,label.
        cache: folder of the cache files.
        manifest: CSV file that assigns classes to splits.
        split: fractions of the classes for train, val and test, where the manifest is drawn.
        split_seed: seed of that draw.
        max_unreadable: fraction of the files that may be unreadable. Such files are left out with a
            warning.
        invert: whether to invert the images, so that dark ink on white paper becomes 255 on 0.
        input_shape: [1, H, W] or [3, H, W].

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("test/cats/1.png", "test/cats/2.png", "test/dogs/1.png"):
        ...     (root / name).parent.mkdir(parents=True, exist_ok=True)
        ...     Image.new("L", (40, 30)).save(root / name)
        >>> source = Folder(
        ...     str(root), cache=str(root / "cache"), manifest=str(root / "classes.csv"),
        ...     split=[0.6, 0.2, 0.2], split_seed=0, max_unreadable=0.0, invert=False,
        ...     input_shape=[1, 28, 28],
        ... )
        >>> bank = source.load()["test"]  # a root of test/ alone has meta-test alone
        >>> bank.names, bank.images.shape
        (('cats', 'dogs'), torch.Size([3, 1, 28, 28]))
    """

    def __init__(
        self,
        root: str,
        *,
        cache: str,
        manifest: str,
        split: list[float],
        split_seed: int,
        max_unreadable: float,
        invert: bool,
        input_shape: list[int],
    ) -> None:
        self.input_shape = image_shape("folder", input_shape, tuple(MODES))
        if not 0 <= max_unreadable < 1:
            raise ValueError(f"folder: max_unreadable={max_unreadable} must be a fraction of the files")
        self.root, self.cache, self.manifest = Path(root), Path(cache), Path(manifest)
        self.division = Division("folder", self.root, self.manifest, split, split_seed)
        self.max_unreadable = max_unreadable
        self.preparation = Preparation(self.input_shape, invert)  # `load` finds how many bits are in use

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the splits, mapped from a cache that matches these very files.

        Raises ValueError or OSError in one line: what is missing or damaged, and where to put it.
        """
        with named("folder"):
            return self._load()

    def _load(self) -> dict[Split, ClassBank]:
        if not self.root.exists():
            raise FileNotFoundError(f"{self.root.absolute()} is absent; {ADVICE}")
        files = split_folders(self.root)
        divided = bool(files)
        if divided and self.manifest.exists():
            raise ValueError(f"{self.root} has splits as folders; leave out the manifest {self.manifest}")
        if not divided:
            of_class = files_by_list(self.root) if self.root.is_file() else files_by_folder(self.root)
            classes = self.division.classes(of_class)
            files = {split: {name: of_class[name] for name in names} for split, names in classes.items()}
        files = complete(files, self.root)
        seen = self._inspected(files)
        count = len(_paths(files))
        files = self._readable(files, seen)
        warn_of_equal(files, seen.digests)
        self.preparation = replace(self.preparation, bits=seen.bits)
        banks = self._banks(files)
        for split, bank in banks.items():
            sizes = [len(rows) for rows in bank.rows]
            message = "folder: %s has %d classes of %d to %d images; the smallest is %s"
            log.info(message, split, len(sizes), min(sizes), max(sizes), bank.name_of_smallest)
        origin = "by its folders" if divided else f"by {self.manifest}"
        if not divided and not self.manifest.exists():
            self.division.keep({split: bank.names for split, bank in banks.items()})
            origin = f"drawn, and kept in {self.manifest}"
        _show(self.root, banks, count, origin)
        return banks

    def _inspected(self, files: SplitFiles) -> Inspection:
        """Inspects all files, and warns of values that are far from white."""
        key = hashlib.sha256(f"{PROCESSING} {PIL.__version__}\n{plan_of_files(files).identity}".encode()).hexdigest()
        seen = look_through(_paths(files), self.cache / f"folder-seen-{key[:16]}.npz")
        if 16 in seen.largest:
            message = "folder: images of 16 bits use the lowest %d of them, so that %d is white"
            log.info(message, seen.bits, 2**seen.bits - 1)
        if seen.brightness < DARK:
            message = "folder: all images are dark: their brightest pixel is %.1f %% of white"
            log.warning(message, 100 * seen.brightness)
        return seen

    def _readable(self, files: SplitFiles, seen: Inspection) -> SplitFiles:
        """Drops and lists unreadable files. Raises ValueError if they are too many."""
        count, bad = len(_paths(files)), [f"{path} ({why})" for path, why in seen.reasons.items()]
        if len(bad) > self.max_unreadable * count:
            limit = f"more than the fraction max_unreadable={self.max_unreadable:g}"
            raise ValueError(f"{len(bad)} of {count} files are not images, {limit}: {some(bad)}")
        if bad:
            log.warning("folder: %d of %d files are not images: %s", len(bad), count, ", ".join(bad))
        rest: SplitFiles = {}
        for split, classes in files.items():
            rest[split] = {
                name: {path: text for path, text in of_class.items() if path not in seen.reasons}
                for name, of_class in classes.items()
            }
        if empty := [name for classes in rest.values() for name, of_class in classes.items() if not of_class]:
            raise ValueError(f"{self.root} has classes without images: {some(empty)}")
        return rest

    def _banks(self, files: SplitFiles) -> dict[Split, ClassBank]:
        paths = _paths(files)

        def read(start: int) -> Iterator[np.ndarray]:
            for path in paths[start:]:
                try:
                    yield self.preparation.of_file(read_regular(path, LARGEST))
                except ValueError as error:
                    raise ValueError(f"{path} has changed and is no longer an image ({error})") from error

        plan = plan_of_files(files)
        invert, bits = self.preparation.invert, self.preparation.bits
        identity = f"{PROCESSING} {self.input_shape[0]} {invert} {bits} {plan.identity}"
        return open_banks(self.cache, "folder", replace(plan, identity=identity, read=read), self.input_shape)


def _paths(files: SplitFiles) -> list[str]:
    """Lists all files in the order of the rows of their plan."""
    return [path for classes in files.values() for of_class in classes.values() for path in of_class]


def _show(root: Path, banks: dict[Split, ClassBank], num_files: int, origin: str) -> None:
    """States the found, excluded and divided images, at the start of a run and in its log."""
    classes = sum(bank.num_classes for bank in banks.values())
    images = sum(len(bank.images) for bank in banks.values())
    left_out = num_files - images
    skipped = f"; {left_out:,} file{'s' * (left_out > 1)} left out as unreadable" if left_out else ""
    sizes = (f"meta-{split} {bank.num_classes} classes, {len(bank.images):,} images" for split, bank in banks.items())
    lines = (f"{root}: {classes:,} classes, {images:,} images{skipped}", f"{'; '.join(sizes)}: {origin}")
    for line in lines:
        Console(stderr=True).print(f"folder: {line}", highlight=False, markup=False, soft_wrap=True)
        log.info("folder: %s", line)


def warn_of_equal(files: SplitFiles, digests: dict[str, bytes]) -> None:
    """Warns of equal files in two splits, or in one of which episodes are scored.

    This is no error, because miniImageNet as published has six images in two splits.
    """
    found = defaultdict[bytes, list[tuple[Split, str]]](list)
    for split, classes in files.items():
        for path in chain(*classes.values()):
            found[digests[path]].append((split, path))
    twice = [places for places in found.values() if may_be_learnt([split for split, _ in places])]
    if twice:
        shown = "; ".join("{1} ({0}) and {3} ({2})".format(*places[0], *places[-1]) for places in twice[:10])
        line = "folder: %d images are there more than once, so a query may be one that was learnt: keep each once: %s"
        log.warning(line, len(twice), shown)
