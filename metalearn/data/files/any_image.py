"""Images of any format and pixel type, as 8 bits of grey or of red, green and blue."""

import functools
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from metalearn.formats import one_line

MODES = {1: "L", 3: "RGB"}  # Pillow's names, by number of channels
LARGEST = 1 << 30  # limit of a file in bytes; Pillow limits an image to 89 million pixels
BYTE = 8  # bits


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns the formats that Pillow reads itself; EPS is excluded, since Ghostscript runs it."""
    Image.init()
    return tuple(name for name in Image.OPEN if name != "EPS")


@contextmanager
def open_image(content: bytes, kinds: tuple[str, ...]) -> Iterator[Image.Image]:
    """Opens the first image of a file in one of these formats; its pixels are read later.

    Raises ValueError with the reason for any failure inside the context, because damaged files make
    some readers raise arbitrary exceptions. An image of too many pixels is refused before
    allocation.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these warnings name no file
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=kinds) as image:
                yield image
    except UnidentifiedImageError as error:
        raise ValueError("not an image of a known format") from error
    except Exception as error:
        raise ValueError(one_line(error)) from error


def decode(content: bytes, channels: int, bits: int = 16) -> Image.Image:
    """Decodes the first image of a file, rotated upright by EXIF, with white for transparency.

    Pixels of 16 bits become bytes: the upper 8 of their lowest `bits`. Raises ValueError with the
    reason if the content is no image or a damaged one.
    """
    with open_image(content, formats()) as file:
        return as_bytes(file, channels, bits)


def as_bytes(image: Image.Image, channels: int, bits: int = 16) -> Image.Image:
    """Converts an opened image as `decode` does.

    Raises ValueError if the white of its pixels is not known.
    """
    if 0 in image.size:
        raise ValueError(f"an image of {image.size[0]} x {image.size[1]} pixels")
    is_pgm = image.mode == "I" and image.format == "PPM"  # above 8 bits; Pillow scales its white to 2^16 - 1
    image = ImageOps.exif_transpose(image)
    if _is_deep(image):  # Pillow would clip these pixels at 255
        values = np.asarray(image)
        pixels = (values >> max(0, bits - BYTE)).clip(max=255)
        pixels[values == image.info.get("transparency")] = 255
        image = Image.fromarray(pixels.astype(np.uint8))
    elif is_pgm:
        image = Image.fromarray((np.asarray(image) >> BYTE).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of the mode {image.mode}, whose white is not known")
    elif image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    elif image.mode == "LAB":
        image = image.convert("RGB")  # Pillow converts it to nothing else
    return image.convert(MODES[channels])


def brightest(content: bytes) -> tuple[int, int]:
    """Returns the largest pixel value of a file and the bits of a pixel; errors as in `decode`."""
    with open_image(content, formats()) as image:
        if _is_deep(image):
            return int(np.asarray(image).max()), 16
    return int(np.asarray(decode(content, channels=3)).max()), BYTE


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16")
