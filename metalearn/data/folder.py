"""Any images of yours: a folder of images for each class, or a list of images and their classes."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
from rich.console import Console

from metalearn.data.bank import ClassBank
from metalearn.data.files.any_image import LARGEST, MODES
from metalearn.data.files.class_files import ADVICE, SplitFiles, files_by_folder, files_by_list, split_folders
from metalearn.data.files.image_array import open_banks
from metalearn.data.files.image_files import ClassLists, plan_of_files
from metalearn.data.files.looking import Seen, look_through
from metalearn.data.files.names import some
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.regular import read_regular
from metalearn.data.files.source import image_shape, named
from metalearn.data.manifest import draw_split, read_manifest, write_manifest
from metalearn.types import SPLITS, Split

log = logging.getLogger(__name__)

PROCESSING = 2  # part of the caches' keys: to be raised whenever `Preparation` gives other pixels
DARK = 0.25  # of white: where no pixel is brighter, the range of the files is not that of their pixels


class Folder:
    """The images as a Source: of any format and size, of classes of any sizes.

    Where `root` has no train/, val/ and test/, the file `manifest` says which class is for what; where it is absent,
    that is drawn by `split` (fractions) and `split_seed`, and it is written. A fraction `max_unreadable` of the files
    may be no images: they are left out with a warning. With `invert`, dark ink on white paper becomes 255 on 0.
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
        if len(split) != len(SPLITS) or min(split) < 0 or abs(sum(split) - 1) > 1e-6:
            raise ValueError(f"folder: split={split} must be the fractions of train, val and test, which add up to 1")
        if not 0 <= max_unreadable < 1:
            raise ValueError(f"folder: max_unreadable={max_unreadable} must be a fraction of the files")
        self.root, self.cache, self.manifest = Path(root), Path(cache), Path(manifest)
        self.split, self.split_seed = split, split_seed
        self.max_unreadable = max_unreadable
        self.preparation = Preparation(self.input_shape, invert)  # `load` finds how many bits are in use

    def load(self) -> dict[Split, ClassBank]:
        """The banks of the splits, mapped from the cache when that was made of these very files.

        Raises ValueError or OSError with one line: what is missing or damaged, and where to put it.
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
            classes = self._given(of_class) if self.manifest.exists() else self._drawn(of_class)
            files = {split: {name: of_class[name] for name in names} for split, names in classes.items() if names}
        if [*files] not in ([*SPLITS], ["test"]):
            missing = " and ".join(split for split in SPLITS if split not in files)
            raise ValueError(f"{self.root} has no classes for {missing}: all three splits are needed, or test alone")
        seen = self._seen(files)
        count = len(_paths(files))
        files = self._readable(files, seen)
        tell_equal(files, seen.digests)
        self.preparation = replace(self.preparation, bits=seen.bits)
        banks = self._banks(files)
        for split, bank in banks.items():
            sizes = [len(rows) for rows in bank.rows]
            message = "folder: %s has %d classes of %d to %d images; the smallest is %s"
            log.info(message, split, len(sizes), min(sizes), max(sizes), bank.name_of_smallest)
        origin = "by its folders" if divided else f"by {self.manifest}"
        if not divided and not self.manifest.exists():
            write_manifest(self.manifest, {split: bank.names for split, bank in banks.items()})
            origin = f"drawn, and kept in {self.manifest}"
        _show(self.root, banks, count, origin)
        return banks

    def _drawn(self, names: Iterable[str]) -> ClassLists:
        """A split by the fractions."""
        if not self.manifest.parent.is_dir():
            raise FileNotFoundError(f"the folder of the manifest {self.manifest.absolute()} is absent")
        return draw_split(names, self.split, self.split_seed)

    def _given(self, names: Iterable[str]) -> ClassLists:
        """The split of the manifest, all of whose classes must be there."""
        classes = read_manifest(self.manifest)
        wanted, present = {name for of_split in classes.values() for name in of_split}, set(names)
        if wanted.isdisjoint(present):
            advice = "dataset.manifest=FILE names another, which is drawn where it is absent"
            raise ValueError(f"{self.manifest} is the split of another data set than {self.root}; {advice}")
        if missing := sorted(wanted - present):
            raise ValueError(f"{self.root} lacks {len(missing)} classes of {self.manifest}: {some(missing)}")
        if others := sorted(present - wanted):
            log.warning("folder: %d classes are not in %s and left out: %s", len(others), self.manifest, some(others))
        return classes

    def _seen(self, files: SplitFiles) -> Seen:
        """What a look through the files finds, with a word about values that are far from white."""
        key = hashlib.sha256(f"{PROCESSING} {PIL.__version__}\n{plan_of_files(files).identity}".encode()).hexdigest()
        seen = look_through(_paths(files), self.cache / f"folder-seen-{key[:16]}.npz")
        if 16 in seen.largest:
            message = "folder: images of 16 bits use the lowest %d of them, so that %d is white"
            log.info(message, seen.bits, 2**seen.bits - 1)
        if seen.brightness < DARK:
            message = "folder: all images are dark: their brightest pixel is %.1f %% of white"
            log.warning(message, 100 * seen.brightness)
        return seen

    def _readable(self, files: SplitFiles, seen: Seen) -> SplitFiles:
        """The files without those that are no images, which are listed; ValueError when these are too many."""
        count, bad = len(_paths(files)), [f"{path} ({why})" for path, why in seen.reasons.items()]
        if len(bad) > self.max_unreadable * count:
            limit = f"more than the fraction max_unreadable={self.max_unreadable:g}"
            raise ValueError(f"{len(bad)} of {count} files are no images, {limit}: {some(bad)}")
        if bad:
            log.warning("folder: %d of %d files are no images: %s", len(bad), count, ", ".join(bad))
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
                    raise ValueError(f"{path} has changed, and is no image any more ({error})") from error

        plan = plan_of_files(files)
        invert, bits = self.preparation.invert, self.preparation.bits
        identity = f"{PROCESSING} {self.input_shape[0]} {invert} {bits} {plan.identity}"
        return open_banks(self.cache, "folder", replace(plan, identity=identity, read=read), self.input_shape)


def _paths(files: SplitFiles) -> list[str]:
    """All files, in the order of the rows of their plan."""
    return [path for classes in files.values() for of_class in classes.values() for path in of_class]


def _show(root: Path, banks: dict[Split, ClassBank], num_files: int, origin: str) -> None:
    """What was found, left out and divided: at the beginning of a run, and in its log."""
    classes = sum(bank.num_classes for bank in banks.values())
    images = sum(len(bank.images) for bank in banks.values())
    left_out = num_files - images
    skipped = f"; {left_out:,} file{'s' * (left_out > 1)} left out, no image" if left_out else ""
    sizes = (f"meta-{split} {bank.num_classes} classes, {len(bank.images):,} images" for split, bank in banks.items())
    lines = (f"{root}: {classes:,} classes, {images:,} images{skipped}", f"{'; '.join(sizes)}: {origin}")
    for line in lines:
        Console(stderr=True).print(f"folder: {line}", highlight=False, markup=False, soft_wrap=True)
        log.info("folder: %s", line)


def tell_equal(files: SplitFiles, digests: dict[str, bytes]) -> None:
    """Warn of files of the same content in two splits: miniImageNet as published has six, so they are no error."""
    places: dict[bytes, dict[Split, str]] = {}
    for split, classes in files.items():
        for path in (path for of_class in classes.values() for path in of_class):
            places.setdefault(digests[path], {}).setdefault(split, path)
    pairs = [" and ".join(f"{path} ({split})" for split, path in of.items()) for of in places.values() if len(of) > 1]
    if pairs:
        log.warning("folder: %d images are in two splits, leave each in one: %s", len(pairs), "; ".join(pairs[:10]))
