"""Reader of the idx files of MNIST and similar data sets: an array of bytes, plain or gzipped."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from metalearn.data.files.regular import open_regular

LARGEST = 70_000 * 28 * 28  # limit in bytes: all images of MNIST, training and test


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
                raise ValueError(f"it is not an idx file of bytes with {axes} axes")
            shape = np.frombuffer(header, ">u4", axes, offset=4).tolist()
            if (size := math.prod(shape)) > LARGEST:
                raise ValueError(f"its header declares {size:,} bytes; MNIST has {LARGEST:,} at most")
            # Reads one byte too many, so that a bomb is detected and not unpacked further.
            content = file.read(size + 1)
        if len(content) != size:
            found = "more than" if len(content) > size else f"{len(content):,} of"
            raise ValueError(f"it has {found} {size:,} bytes")
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); replace it, or delete it to have it downloaded") from error
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)
