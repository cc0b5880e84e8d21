"""Preparation of an image for a network, equal for the files of a data set and for new images."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from metalearn.data.files.any_image import as_bytes, decode


@dataclass(frozen=True)
class Preparation:
    """Conversion of an image, of any size and kind of pixels, to the bytes of a bank.

    Args:
        input_shape: (C, H, W).
        invert: whether dark ink on white paper becomes 255 on 0.
        bits: number of bits in use, the lowest ones, in pixels of 16 bits.
    """

    input_shape: tuple[int, int, int]
    invert: bool = False
    bits: int = 16

    def of_file(self, content: bytes) -> np.ndarray:
        """Returns the pixels of a file, (H, W, C) uint8.

        Raises ValueError, with the reason, if it is no image.
        """
        return self._fitted(decode(content, self.input_shape[0], self.bits))

    def of_image(self, image: Image.Image) -> np.ndarray:
        """Returns the pixels of an opened image, (H, W, C) uint8.

        Raises ValueError if its white is not known.
        """
        return self._fitted(as_bytes(image, self.input_shape[0], self.bits))

    def to_image(self, pixels: np.ndarray) -> Image.Image:
        """Returns the image that has these pixels, (H, W, C) uint8, when it is prepared."""
        image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
        return ImageOps.invert(image) if self.invert else image

    def _fitted(self, image: Image.Image) -> np.ndarray:
        channels, height, width = self.input_shape
        pixels = np.asarray(ImageOps.invert(image) if self.invert else image)
        return fit(pixels, height, width).reshape(height, width, channels)


def fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image, (H, W) or (H, W, 3), by Lanczos' filter, as Finn et al. 2017 do."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
