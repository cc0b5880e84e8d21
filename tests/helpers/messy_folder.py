"""Messy folder of images: 30 classes, whose files are of different kinds.

`python tests/helpers/messy_folder.py FOLDER` writes known/, examples/ and new/ for docs/sorting.md.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES, TURNED = 30, 6  # number of classes; EXIF orientation of an upright camera
COLOURS = ("red", "orange", "green", "teal", "blue", "purple")
KINDS = ("png", "JPG", "grey.png", "alpha.png", "cmyk.jpg", "turned.jpeg", "deep.PNG", "WebP", "palette.gif", "tif")


def drawing(number: int, seed: int) -> Image.Image:
    """Draws a polygon on paper.

    The class sets its number of corners and its colour; random numbers set place and size.
    """
    rng = np.random.default_rng([number, seed])
    size = int(rng.integers(48, 97))
    image = Image.new("RGB", (size, size + int(rng.integers(0, 20))), "white")
    centre, radius = rng.uniform(0.42, 0.58, 2) * image.size, rng.uniform(0.3, 0.42) * size
    corners, turn = 3 + number // len(COLOURS), float(rng.uniform(0, 360))
    ImageDraw.Draw(image).regular_polygon((*centre, radius), corners, turn, fill=COLOURS[number % len(COLOURS)])
    return image


def write_image(path: Path, image: Image.Image, kind: str) -> None:
    """Writes the image to a file of this kind, which is also the ending of its name."""
    path = path.with_name(f"{path.name}.{kind}")
    if kind == "grey.png":
        image = image.convert("L")
    elif kind == "alpha.png":
        mask = image.convert("L").point(lambda value: 255 * (value < 255))
        image = image.convert("RGBA")
        image.putalpha(mask)
    elif kind == "cmyk.jpg":
        image = image.convert("CMYK")
    elif kind == "deep.PNG":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 4)  # 12 of 16 bits
    elif kind == "palette.gif":
        image = image.quantize(16)
    exif = Image.Exif()
    if kind == "turned.jpeg":
        image, exif[0x0112] = image.rotate(90, expand=True), TURNED
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({"exif": exif} if kind == "turned.jpeg" else {}))


def write(place: Path, *, num_known: int = 24, images: int = 20, examples: int = 5, new: int = 10) -> None:
    """Writes known/ to train on, and examples/ and new/ of the other classes.

    File names in new/ state the class.
    """
    for number in range(CLASSES):
        name = f"Shape {number:02d} ({COLOURS[number % len(COLOURS)]})"
        for seed in range(images if number < num_known else examples + new):
            folder = Path("known", name) if number < num_known else Path("examples", name)
            if number >= num_known and seed >= examples:
                folder = Path("new")
            path = place / folder / f"{name} no. {seed}"
            write_image(path, drawing(number, seed), KINDS[(number + seed) % len(KINDS)])
    for folder in ("known/Shape 00 (red)", "new"):
        (place / folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
