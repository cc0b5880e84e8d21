"""miniImageNet: 100 classes of ImageNet with 600 images each, of 84 x 84 pixels.

Oriol Vinyals, Charles Blundell, Timothy Lillicrap, Koray Kavukcuoglu, Daan Wierstra: Matching
Networks for One Shot Learning. NeurIPS 2016, arXiv:1606.04080. Images and split: Sachin Ravi, Hugo
Larochelle: Optimization as a Model for Few-Shot Learning. ICLR 2017. ImageNet's terms of use:
research only.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.data.files.image_array import Plan
from metalearn.data.files.image_files import ClassLists, Files, equal_rows, files_of, images_in, plan_of_files
from metalearn.data.files.names import some
from metalearn.data.files.pickles import load_plain
from metalearn.data.files.regular import file_version
from metalearn.data.files.table import BadLine, read_lines
from metalearn.data.photographs import AbstractPhotographs
from metalearn.data.splits import read_split
from metalearn.types import SPLITS, Split

NUM_IMAGES = 600  # number for each class
PICKLES: list[dict[Split, str]] = [  # names of Ren et al. 2018, and of Gidaris and Komodakis 2018
    {split: f"mini-imagenet-cache-{split}.pkl" for split in SPLITS},
    {
        "train": "miniImageNet_category_split_train_phase_train.pickle",
        "val": "miniImageNet_category_split_val.pickle",
        "test": "miniImageNet_category_split_test.pickle",
    },
]
ADVICE = (
    "put there images/ with train.csv, val.csv and test.csv, or a folder for each class, "
    "or mini-imagenet-cache-{train,val,test}.pkl (docs/datasets/mini_imagenet.md)"
)


class MiniImageNet(AbstractPhotographs):
    """miniImageNet as a Source, in the split of Ravi and Larochelle: 64, 16 and 20 classes.

    Args:
        root: folder in one of the layouts of docs/datasets/mini_imagenet.md.
        cache: folder of the cache files.
        input_shape: [3, H, W]; images of another size are resized.

    Examples:
        >>> source = MiniImageNet("data", cache="cache", input_shape=[3, 84, 84])
        >>> source.input_shape
        (3, 84, 84)
        >>> source.load()["test"].num_classes  # doctest: +SKIP
        20
    """

    in_imagenet = "all"

    def __init__(self, root: str, *, cache: str, input_shape: list[int]) -> None:
        super().__init__("mini_imagenet", read_split("mini_imagenet", "ravi"), root, cache, input_shape)

    def plan(self) -> Plan:
        return make_plan(self.root, self.classes, NUM_IMAGES)


def make_plan(root: Path, classes: ClassLists, num_images: int) -> Plan:
    """Plans the images of the first layout found in `root`."""
    if (root / "images").is_dir():
        return plan_of_files(_check(root, _listed(root, classes), num_images))
    for names in PICKLES:
        if any((root / name).is_file() for name in names.values()):
            return _plan_of_pickles({split: root / name for split, name in names.items()}, classes, num_images)
    expected = {name for of_split in classes.values() for name in of_split}.union(SPLITS)
    if not any((root / name).is_dir() for name in expected):
        raise FileNotFoundError(f"{root.absolute()} has no images; {ADVICE}")
    return plan_of_files(_check(root, files_of(root, classes), num_images))


def _listed(root: Path, classes: ClassLists) -> dict[Split, dict[str, Files]]:
    """Sorts the files of images/ by the class that train.csv, val.csv or test.csv assigns."""
    folder = root / "images"
    present = images_in(folder)
    files: dict[Split, dict[str, Files]] = {}
    for split, names in classes.items():
        path = root / f"{split}.csv"
        labels = {f"{folder}/{name}": label for name, label in _read_csv(path).items()}
        if strange := sorted(set(labels.values()) - set(names)):
            raise ValueError(f"{path} has the class {strange[0]}, which is not in {split} of the split")
        if absent := sorted(labels.keys() - present.keys()):
            raise ValueError(f"{len(absent)} files that {path} names are absent, or in another CSV too: {some(absent)}")
        files[split] = {name: {} for name in names}
        for file in sorted(labels):
            files[split][labels[file]][file] = present.pop(file)  # no file is in two splits
    return files


def _read_csv(path: Path) -> dict[str, str]:
    """Reads the label of each filename."""
    try:
        labels: dict[str, str] = {}
        for line, (name, label) in read_lines(path, ["filename", "label"]):
            if labels.setdefault(name, label) != label:
                raise BadLine(line, f"{name} has two labels")
        return labels
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.absolute()} is missing beside images/; {ADVICE}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not a CSV file of filename,label ({error})") from error


def _check(root: Path, files: dict[Split, dict[str, Files]], num_images: int) -> dict[Split, dict[str, Files]]:
    """Raises ValueError that names the first class without `num_images` files."""
    for of_split in files.values():
        for name, of_class in of_split.items():
            if len(of_class) != num_images:
                raise ValueError(f"{root}: the class {name} has {len(of_class)} of {num_images} images")
    return files


def _plan_of_pickles(paths: dict[Split, Path], classes: ClassLists, num_images: int) -> Plan:
    """Plans the images of three pickles; reading verifies them, one pickle in memory at a time."""
    identity = hashlib.sha256()
    for split, path in paths.items():
        if not path.is_file():
            raise FileNotFoundError(f"{path.absolute()} is missing beside the other pickles")
        version = file_version(path, path.stat())
        identity.update(f"{split} {version} {classes[split]} {num_images}\n".encode())

    def read(start: int) -> Iterator[np.ndarray]:
        for split, names in classes.items():
            size = len(names) * num_images
            if start < size:
                yield from islice(_images_of_pickle(paths[split], split, names, num_images), start, None)
            start = max(0, start - size)

    return Plan(equal_rows(classes, num_images), identity.hexdigest(), read)


def _images_of_pickle(path: Path, split: Split, names: tuple[str, ...], num_images: int) -> Iterator[np.ndarray]:
    """Yields the images of each class in turn. Raises ValueError for other classes."""
    match load_plain(path):
        case {"image_data": np.ndarray() as images, "class_dict": dict() as rows}:
            pass
        case {"data": np.ndarray() as images, "labels": labels, "catname2label": dict() as numbers}:
            rows = {name: np.flatnonzero(np.asarray(labels) == number) for name, number in numbers.items()}
        case _:
            raise ValueError(f"{path} lacks the keys image_data and class_dict, or data, labels and catname2label")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"{path}: the images are {images.dtype} {images.shape}, not uint8 (M, H, W, 3)")
    missing, strange = sorted(set(names) - rows.keys()), sorted(map(str, rows.keys() - set(names)))
    if missing or strange:
        what = f"lacks the class {missing[0]}" if missing else f"has the class {strange[0]}"
        raise ValueError(f"{path} {what}: it must hold the {len(names)} classes of {split}")
    for name in names:
        yield from _rows_of_class(images, rows[name], path, name, num_images)


def _rows_of_class(images: np.ndarray, rows: Any, path: Path, name: str, num_images: int) -> Iterator[np.ndarray]:
    unique = np.unique(np.asarray(rows))
    if unique.shape != (num_images,) or unique.dtype.kind not in "iu" or unique[0] < 0 or unique[-1] >= len(images):
        raise ValueError(f"{path}: the class {name} does not hold {num_images} distinct rows of the array")
    # Each row is a copy: a view would keep this pickle in memory while the next one is read.
    return (images[row].copy() for row in unique)
