"""MNIST: the 10,000 handwritten digits of its test set, for tests of other training data.

Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner: Gradient-based learning applied to document
recognition. Proceedings of the IEEE 86, 1998.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from metalearn.data.bank import ClassBank
from metalearn.data.files.download import found_or_downloaded
from metalearn.data.files.regular import open_regular
from metalearn.data.files.source import check_memory, image_shape, named
from metalearn.types import Split

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
MD5 = {  # MD5 of the two official files, gzipped
    IMAGES: "9fb629c4189551a2d022fa330f9573f3",
    LABELS: "ec29112dd5afa0611ce80d1b7f02629c",
}
DIGITS = range(10)
LARGEST = 70_000 * 28 * 28  # limit in bytes: all images of MNIST, training and test


class MNIST:
    """MNIST as a Source that has meta-test alone, with ten classes of unequal size.

    Ink is 255 and paper is 0.

    Args:
        root: folder of the two test files, gzipped or not; absent files are downloaded to it.
        input_shape: [1, H, W].
        url: address of the folder of the files.
    """

    def __init__(self, root: str, *, input_shape: list[int], url: str) -> None:
        self.input_shape = image_shape("mnist", input_shape, [1])
        self.root = Path(root)
        self.url = url

    def load(self) -> dict[Split, ClassBank]:
        """Returns the bank of meta-test; meta-train and meta-val are absent.

        Raises ValueError or OSError in one line: what is missing or damaged, and where to put it.
        """
        with named("mnist"):
            return {"test": self._bank()}

    def _bank(self) -> ClassBank:
        images_path, labels_path = self._find(IMAGES), self._find(LABELS)
        images, labels = read_idx(images_path, axes=3), read_idx(labels_path, axes=1)
        if len(images) != len(labels):
            raise ValueError(f"{images_path} has {len(images):,} images, but {labels_path.name} {len(labels):,} labels")
        if strange := sorted(set(labels.tolist()) - set(DIGITS)):
            raise ValueError(f"{labels_path} has the label {strange[0]}, which is no digit")
        if missing := sorted(set(DIGITS) - set(labels.tolist())):
            raise ValueError(f"{labels_path} has no {missing[0]}; all ten digits are needed")
        _, height, width = self.input_shape
        check_memory("mnist", len(images) * height * width)
        if images.shape[1:] != (height, width):
            # The filter is the one that resizes Omniglot's drawings.
            images = np.stack(
                [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.LANCZOS)) for one in images]
            )
        rows = tuple(np.flatnonzero(labels == digit) for digit in DIGITS)
        return ClassBank(torch.from_numpy(images[:, None]), rows, tuple(map(str, DIGITS)))

    def _find(self, name: str) -> Path:
        packed = f"{name}.gz"
        return found_or_downloaded(self.root / name, self.root / packed, f"{self.url}/{packed}", md5=MD5[name])


def read_idx(path: Path, *, axes: int) -> np.ndarray:
    """Reads an idx file of bytes with `axes` axes as uint8. Raises ValueError if it is damaged.

    The format is: two zeros, 8 for bytes, the number of axes, the length of each axis (4 bytes, big
    endian), the content.
    """
    begin = 4 + 4 * axes
    try:
        with open_regular(path) as packed, gzip.open(packed) if path.suffix == ".gz" else packed as file:
            header = file.read(begin)
            if header[:4] != bytes([0, 0, 8, axes]) or len(header) < begin:
                raise ValueError(f"it is no idx file of bytes with {axes} axes")
            shape = np.frombuffer(header, ">u4", axes, offset=4).tolist()
            if (size := math.prod(shape)) > LARGEST:
                raise ValueError(f"it says that it holds {size:,} bytes; MNIST has {LARGEST:,} at most")
            # Reads one byte too many, so that a bomb is detected and not unpacked further.
            content = file.read(size + 1)
        if len(content) != size:
            found = "more than" if len(content) > size else f"{len(content):,} of"
            raise ValueError(f"it has {found} {size:,} bytes")
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); replace it, or delete it to have it downloaded") from error
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)
