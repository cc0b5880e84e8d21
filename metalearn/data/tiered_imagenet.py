"""tieredImageNet: 608 classes of ImageNet, split by category, so that test classes are distant.

Mengye Ren, Eleni Triantafillou, Sachin Ravi, Jake Snell, Kevin Swersky, Joshua Tenenbaum, Hugo
Larochelle, Richard Zemel: Meta-Learning for Semi-Supervised Few-Shot Classification. ICLR 2018,
arXiv:1803.00676. ImageNet's terms of use: research only.
"""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metalearn.data.files.image_array import Plan
from metalearn.data.files.image_files import ClassLists, decode, files_of, plan_of_files
from metalearn.data.files.names import some
from metalearn.data.files.pickles import load_plain, pngs_in
from metalearn.data.files.regular import file_version
from metalearn.data.overlap import in_two_splits
from metalearn.data.photographs import AbstractPhotographs
from metalearn.data.splits import read_split
from metalearn.types import SPLITS, Split

log = logging.getLogger(__name__)

# Published numbers.
NUM_IMAGES: dict[Split, int] = {"train": 448_695, "val": 124_261, "test": 206_209}
ADVICE = (
    "put there train/, val/ and test/ with a folder for each class, or {train,val,test}_images_png.pkl with "
    "{train,val,test}_labels.pkl (docs/datasets/tiered_imagenet.md)"
)


class TieredImageNet(AbstractPhotographs):
    """tieredImageNet as a Source, in the split of Ren et al.: 351, 97 and 160 classes.

    Args:
        root: folder in one of the layouts of docs/datasets/tiered_imagenet.md.
        cache: folder of the cache files.
        input_shape: [3, H, W]; images of another size are resized.

    Examples:
        >>> source = TieredImageNet("data", cache="cache", input_shape=[3, 84, 84])
        >>> source.input_shape
        (3, 84, 84)
        >>> source.load()["test"].num_classes  # doctest: +SKIP
        160
    """

    in_imagenet = "all"

    def __init__(self, root: str, *, cache: str, input_shape: list[int]) -> None:
        super().__init__("tiered_imagenet", read_split("tiered_imagenet", "ren"), root, cache, input_shape)

    def plan(self) -> Plan:
        plan = make_plan(self.root, self.classes)
        for split in SPLITS:
            if (count := plan.num_images(split)) != NUM_IMAGES[split]:
                log.warning(
                    "tiered_imagenet: %s has %d images; the published data set has %d", split, count, NUM_IMAGES[split]
                )
        return plan


def make_plan(root: Path, classes: ClassLists) -> Plan:
    """Plans the images of the layout found in `root`."""
    if any((root / f"{split}_labels.pkl").is_file() for split in SPLITS):
        return _plan_of_pickles(root, {split: len(names) for split, names in classes.items()})
    if not any((root / split).is_dir() for split in SPLITS):
        raise FileNotFoundError(f"{root.absolute()} has no images; {ADVICE}")
    files = files_of(root, _named_as_the_folders(root, classes))
    if empty := [f"{split}/{name}" for split, paths in files.items() for name, images in paths.items() if not images]:
        raise ValueError(f"{root} has classes without images: {some(empty)}")
    return plan_of_files(files)


def _named_as_the_folders(root: Path, classes: ClassLists) -> ClassLists:
    """Returns the class lists, or the folder names if no folder has an ImageNet number.

    Raises ValueError if the folders differ in number from the published classes, or if a class is
    in two splits.
    """
    found: ClassLists = {}
    for split in SPLITS:
        folders = (root / split).iterdir() if (root / split).is_dir() else ()
        found[split] = tuple(sorted(folder.name for folder in folders if folder.is_dir()))
    names = [name for split in SPLITS for name in found[split]]
    if not set(names).isdisjoint(name for split in SPLITS for name in classes[split]):
        return classes
    for split in SPLITS:
        if len(found[split]) != len(classes[split]):
            raise ValueError(f"{root / split} has {len(found[split])} of {len(classes[split])} class folders")
    if twice := in_two_splits(found):
        raise ValueError(f"{root}: classes are in two splits: {some([*twice])}")
    return found


def _plan_of_pickles(root: Path, num_classes: dict[Split, int]) -> Plan:
    """Plans the pickles of Ren et al.: for each split one of PNG images, and one of classes."""
    identity = hashlib.sha256()
    rows: dict[Split, dict[str, np.ndarray]] = {}
    for split in SPLITS:
        for path in (root / f"{split}_images_png.pkl", root / f"{split}_labels.pkl"):
            if not path.is_file():
                raise FileNotFoundError(f"{path.absolute()} is missing beside the other pickles")
            identity.update(f"{file_version(path, path.stat())}\n".encode())
        rows[split] = _rows_of_classes(root / f"{split}_labels.pkl", split, num_classes[split])

    def read(start: int) -> Iterator[np.ndarray]:
        for split in SPLITS:
            path, size, count = root / f"{split}_images_png.pkl", sum(map(len, rows[split].values())), 0
            if start < size:
                for count, png in enumerate(pngs_in(path), start=1):
                    if start < count <= size:
                        yield decode(png, f"image {count} of {path}")
                if count != size:
                    raise ValueError(f"{path} has {count} images, but {split}_labels.pkl has {size} labels")
            start = max(0, start - size)

    return Plan(rows, identity.hexdigest(), read)


def _rows_of_classes(path: Path, split: Split, num_classes: int) -> dict[str, np.ndarray]:
    """Returns the rows of each class, named by split, number and name.

    The name alone is ambiguous: two classes of ImageNet are called crane.
    """
    match load_plain(path):
        case {"label_specific": np.ndarray() as labels, "label_specific_str": list() as names}:
            pass
        case _:
            raise ValueError(f"{path} lacks the keys label_specific and label_specific_str")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(names) != num_classes:
        raise ValueError(f"{path} has {len(names)} classes and labels {labels.dtype} {labels.shape}, not {num_classes}")
    if not np.array_equal(np.unique(labels), np.arange(num_classes)):
        raise ValueError(f"{path}: the labels are not the numbers 0 to {num_classes - 1}")
    ends = np.cumsum(np.bincount(labels))
    rows = np.split(np.argsort(labels, kind="stable"), ends[:-1])
    return {f"{split}/{number:03d} {name}": part for number, (name, part) in enumerate(zip(names, rows, strict=True))}
