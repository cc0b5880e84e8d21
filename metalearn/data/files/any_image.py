"""An image in whatever format and kind of pixels, as 8 bits of grey or of red, green and blue."""

import functools
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MODES = {1: "L", 3: "RGB"}  # Pillow's names, by the number of channels
LARGEST = 1 << 30  # bytes of a file; the pixels of an image are limited by Pillow, to 89 million
BYTE = 8  # bits


@functools.cache
def formats() -> tuple[str, ...]:
    """All that Pillow reads by itself; EPS is a program, which it has Ghostscript run."""
    Image.init()
    return tuple(name for name in Image.OPEN if name != "EPS")


@contextmanager
def open_image(content: bytes, kinds: tuple[str, ...]) -> Iterator[Image.Image]:
    """The first image of a file of one of these formats, its size known and its pixels not read yet.

    Whatever goes wrong within is a ValueError with the reason: damaged files make the readers of some formats raise
    whatever they like. An image of very many pixels is refused before they are allocated.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # which name no file
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=kinds) as image:
                yield image
    except UnidentifiedImageError as error:
        raise ValueError("no image of a known format") from error
    except Exception as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def decode(content: bytes, channels: int, bits: int = 16) -> Image.Image:
    """The first image of a file, upright as its camera noted; what is transparent becomes white.

    Pixels of 16 bits become bytes by the upper 8 of the lowest `bits`. Raises ValueError, with the reason, when the
    content is no image or a damaged one.
    """
    with open_image(content, formats()) as file:
        return as_bytes(file, channels, bits)


def as_bytes(image: Image.Image, channels: int, bits: int = 16) -> Image.Image:
    """An opened image as `decode` gives it. Raises ValueError where the white of its pixels is not known."""
    image = ImageOps.exif_transpose(image)
    if _is_deep(image):  # which Pillow would cut off at 255
        pixels = np.asarray(image) >> max(0, bits - BYTE)
        image = Image.fromarray(pixels.clip(max=255).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of the mode {image.mode}, whose white is not known")
    elif image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(MODES[channels])


def brightest(content: bytes) -> tuple[int, int]:
    """The largest value of a file's pixels, and the bits of one; errors as those of `decode`."""
    with open_image(content, formats()) as image:
        if _is_deep(image):
            return int(np.asarray(image).max()), 16
    return int(np.asarray(decode(content, channels=3)).max()), BYTE


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16")
