"""Ten classes of small grey images in the four files of MNIST, for training and testing."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
import torch

from metalearn.data.bank import ClassBank
from metalearn.data.files.download import found_or_downloaded
from metalearn.data.files.idx import read_idx
from metalearn.data.files.preparation import Preparation, fit
from metalearn.data.files.source import check_memory, image_shape, named
from metalearn.types import SPLITS, Split

Divided = Literal["images", "classes"]

FILES: dict[Split, str] = {"train": "train", "val": "train", "test": "t10k"}
"""File prefix of each split: only meta-test uses the official test set."""

VALIDATION = 1 / 6
"""Share of meta-val at the end of the training file if images are divided: 10,000 of 60,000."""

CLASSES: dict[Split, range] = {"train": range(4), "val": range(4, 7), "test": range(7, 10)}
"""Labels of each split if classes are divided."""


class Parts(Mapping[Split, ClassBank]):
    """Bank of each split, read on demand: a test alone needs no training file."""

    def __init__(self, read: Callable[[Split], ClassBank]) -> None:
        self._read = read
        self._banks: dict[Split, ClassBank] = {}

    def __getitem__(self, split: Split) -> ClassBank:
        if split not in self._banks:
            self._banks[split] = self._read(split)
        return self._banks[split]

    def __contains__(self, split: object) -> bool:
        return split in SPLITS  # the inherited method would read the bank

    def __iter__(self) -> Iterator[Split]:
        return iter(SPLITS)

    def __len__(self) -> int:
        return len(SPLITS)


class AbstractTenClasses:
    """Source of ten classes of unequal size, bright on 0.

    Args:
        root: folder of the idx files, gzipped or not. Files that are in neither folder are
            downloaded to it.
        installed: second folder that may hold them; None: no second folder.
        split: `images`: the splits share the ten classes and have disjoint images. `classes`: the
            splits share nothing.
        input_shape: [1, H, W].
        url: address of the folder of the official files.
    """

    name: ClassVar[str]  # first word of its errors
    class_names: ClassVar[tuple[str, ...]]  # class names, in the order of the labels
    md5: ClassVar[dict[str, str]]  # MD5 of the official files, gzipped, by their names without .gz

    def __init__(
        self, root: str, *, installed: str | None = None, split: Divided, input_shape: list[int], url: str
    ) -> None:
        if split not in get_args(Divided):
            raise ValueError(f"{self.name}: split is {split!r}; it must be images or classes")
        self.input_shape = image_shape(self.name, input_shape, [1])
        self.preparation = Preparation(self.input_shape, invert=True)  # drawings are dark on white
        self.root, self.installed, self.split, self.url = Path(root), Path(installed or root), split, url

    def load(self) -> Mapping[Split, ClassBank]:
        """Returns the banks, each of which is read on demand.

        Reading raises ValueError or OSError in one line: what is missing or damaged, and where to
        put it.
        """
        return Parts(self._bank)

    def _bank(self, split: Split) -> ClassBank:
        with named(self.name):
            images, labels = self._read(FILES[split])
            wanted = range(10)
            if self.split == "classes":
                wanted = CLASSES[split]
            elif split != "test":
                border = len(images) - round(VALIDATION * len(images))
                part = slice(border) if split == "train" else slice(border, None)
                images, labels = images[part], labels[part]
            chosen = np.isin(labels, wanted)
            images, labels = self._resized(images[chosen]), labels[chosen]
            rows = tuple(np.flatnonzero(labels == label) for label in wanted)
            return ClassBank(torch.from_numpy(images[:, None]), rows, tuple(self.class_names[i] for i in wanted))

    def _read(self, prefix: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads images (M, 28, 28) and labels (M,) of the official training or test set."""
        images_path, labels_path = self._find(f"{prefix}-images-idx3-ubyte"), self._find(f"{prefix}-labels-idx1-ubyte")
        images, labels = read_idx(images_path, axes=3), read_idx(labels_path, axes=1)
        if len(images) != len(labels):
            raise ValueError(f"{images_path} has {len(images):,} images, but {labels_path.name} {len(labels):,} labels")
        if strange := sorted(set(labels.tolist()) - set(range(10))):
            raise ValueError(f"{labels_path} has the label {strange[0]}; labels are 0 to 9")
        if missing := sorted(set(range(10)) - set(labels.tolist())):
            raise ValueError(f"{labels_path} has no {missing[0]}; all ten labels are needed")
        return images, labels

    def _resized(self, images: np.ndarray) -> np.ndarray:
        _, height, width = self.input_shape
        check_memory(len(images) * height * width)
        if images.shape[1:] == (height, width):
            return images
        return np.stack([fit(image, height, width) for image in images])

    def _find(self, name: str) -> Path:
        packed = f"{name}.gz"
        for path in (folder / file for folder in (self.root, self.installed) for file in (name, packed)):
            if path.exists():
                return path
        return found_or_downloaded(self.root / name, self.root / packed, f"{self.url}/{packed}", md5=self.md5[name])
