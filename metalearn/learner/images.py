"""Conversion of images of any form to the bytes that the network of a run was trained on."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metalearn.data.files.any_image import LARGEST
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.regular import read_regular

Picture = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
"""File, opened image, or pixels: (H, W), (H, W, C) or (C, H, W), bytes or numbers from 0 to 1."""

COLOURS = (1, 3, 4)  # grey, colour, colour with transparency


def prepared(image: Picture, preparation: Preparation) -> Tensor:
    """Returns one image, (C, H, W) uint8. Raises ValueError or OSError with the reason."""
    if isinstance(image, str | os.PathLike):
        pixels = preparation.of_file(read_regular(Path(image), LARGEST))
    elif isinstance(image, Image.Image):
        pixels = preparation.of_image(image)
    else:
        pixels = preparation.of_image(picture(image))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def picture(pixels: np.ndarray | Tensor) -> Image.Image:
    """Converts an array or a tensor to an image. Raises ValueError if it is none."""
    is_tensor = isinstance(pixels, Tensor)
    array = _array(pixels)
    shape = array.shape
    if not shape:  # bytes of a file, or None
        raise ValueError(f"a {type(pixels).__name__} is not an image: give a path, an opened image, or pixels")
    if array.ndim == 3 and shape[0] in COLOURS and (is_tensor or shape[2] not in COLOURS):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in COLOURS)):
        raise ValueError(f"pixels of the shape {shape} are not an image: (H, W), (H, W, C) or (C, H, W)")
    return Image.fromarray(np.ascontiguousarray(_integers(array)))


def _array(pixels: np.ndarray | Tensor) -> np.ndarray:
    """Converts pixels to an array in the byte order of this machine."""
    if isinstance(pixels, Tensor):
        pixels = pixels.detach().cpu()
        return (pixels.float() if pixels.dtype == torch.bfloat16 else pixels).numpy()  # numpy has no bfloat16
    try:
        array = np.asarray(pixels)
    except ValueError as error:  # an image beside its label, as a data set of torch has them
        kind = type(pixels).__name__
        raise ValueError(f"a {kind} is not an image: give its pixels alone, without a label") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _integers(array: np.ndarray) -> np.ndarray:
    """Converts pixels to types that Pillow accepts: bytes, or 16 bits of grey.

    The type alone decides that pixels have 16 bits, so that a dark image stays dark.
    """
    if array.dtype == np.uint16 and array.ndim == 3:
        raise ValueError("pixels are uint16 in colour, but 16 bits must be grey: give bytes (uint8), or 0 to 1")
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    lowest, highest = array.min(), array.max()
    if array.dtype.kind in "iu" and highest == 1:  # bytes would be black, numbers from 0 to 1 not
        raise ValueError(f"pixels are {array.dtype} from {lowest} to 1: convert bytes to uint8, or 0 and 1 to bool")
    if array.dtype.kind in "iu" and lowest >= 0 and highest <= 255:
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and lowest >= 0 and highest <= 1:
        return np.rint(array * 255).astype(np.uint8)
    raise ValueError(f"pixels are {array.dtype} from {lowest} to {highest}; give bytes, or numbers from 0 to 1")
