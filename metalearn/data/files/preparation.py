"""What a data set does to an image before a network sees it: the same for its own files and for new ones."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from metalearn.data.files.any_image import as_bytes, decode


@dataclass(frozen=True)
class Preparation:
    """From an image of any size and kind of pixels to the bytes of a bank.

    Args:
        input_shape: C, H, W.
        invert: dark ink on white paper becomes 255 on 0.
        bits: of a pixel of 16 that are in use, the lowest ones.
    """

    input_shape: tuple[int, int, int]
    invert: bool = False
    bits: int = 16

    def of_file(self, content: bytes) -> np.ndarray:
        """The pixels of a file, (H, W, C) uint8. Raises ValueError, with the reason, for what is no image."""
        return self.fit(decode(content, self.input_shape[0], self.bits))

    def of_image(self, image: Image.Image) -> np.ndarray:
        """The pixels of an opened image, (H, W, C) uint8. Raises ValueError where its white is not known."""
        return self.fit(as_bytes(image, self.input_shape[0], self.bits))

    def fit(self, image: Image.Image) -> np.ndarray:
        """The pixels of an image of bytes, resized by Lanczos' filter, (H, W, C) uint8."""
        channels, height, width = self.input_shape
        if self.invert:
            image = ImageOps.invert(image)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        return np.asarray(image).reshape(height, width, channels)
