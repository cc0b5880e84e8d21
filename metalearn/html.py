"""Pages of HTML that need no other file."""

import io
from base64 import b64encode
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:  # a report of text alone does without Pillow
    from PIL.Image import Image


def environment(package: str) -> Environment:
    """Returns the environment of a page's template, which is in the folder of a package."""
    return Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def data_address(content: bytes, kind: str) -> str:
    """Encodes a file of a kind such as image/png as a data: address."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def image_address(image: "Image", kind: str) -> str:
    """Encodes an image as a data: address of a kind such as png."""
    file = io.BytesIO()
    image.save(file, kind)
    return data_address(file.getvalue(), f"image/{kind}")
