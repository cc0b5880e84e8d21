"""An image in whatever format and kind of pixels, as 8 bits of grey or of red, green and blue."""

import functools
import io

import numpy as np
from PIL import Image, ImageOps

MODES = {1: "L", 3: "RGB"}  # Pillow's names, by the number of channels


@functools.cache
def formats() -> tuple[str, ...]:
    """All that Pillow reads by itself; EPS is a program, which it has Ghostscript run."""
    Image.init()
    return tuple(name for name in Image.OPEN if name != "EPS")


def decode(content: bytes, channels: int) -> Image.Image:
    """The first image of a file, upright as its camera noted; what is transparent becomes white.

    Raises ValueError, with the reason, when the content is no image or a damaged one.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats()) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):  # which Pillow would cut off at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            elif image.mode in ("I", "F"):
                raise ValueError(f"pixels of the mode {image.mode}, whose white is not known")
            elif image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return image.convert(MODES[channels])
    except Exception as error:  # a damaged file makes the readers of some formats raise whatever they like
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
