"""Makes miniImageNet from ILSVRC2012: its 60,000 images, resized, in a folder for each class.

    python scripts/prepare_mini_imagenet.py ILSVRC2012/train CSV_FOLDER data/mini_imagenet

ILSVRC2012/train has a folder for each class (n01532829/n01532829_12.JPEG). CSV_FOLDER has the
train.csv, val.csv and test.csv of Ravi and Larochelle. A name there such as n0153282900000005.jpg
is the class and the place of the image, from 1, in the class's list sorted by number. Images are
written as lossless PNG. Existing files are kept, so that a stopped run can be repeated.
"""

import argparse
import re
import sys
from pathlib import Path

from PIL import Image
from rich.progress import track

from metalearn.data.files.image_files import decode
from metalearn.data.files.preparation import fit
from metalearn.data.files.table import with_header
from metalearn.files import write_atomically
from metalearn.types import SPLITS

SIZE = 84  # side of an image in pixels
NAME = re.compile(r"(n\d{8})(\d{8})\.jpg")


def originals(folder: Path) -> list[Path]:
    """Returns the images of a class, sorted by number. Raises ValueError if there are none."""
    numbered = {int(path.stem.rpartition("_")[2]): path for path in folder.glob("*_*.JPEG")}
    if not numbered:
        raise ValueError(f"{folder} has no images such as {folder.name}_12.JPEG")
    return [numbered[number] for number in sorted(numbered)]


def listed(path: Path) -> list[str]:
    """Reads the names of the images in a list. Raises ValueError or OSError in one line."""
    try:
        lines = with_header(path)
        _, header = next(lines)
        if "filename" not in header:
            raise ValueError(f"its first line is '{','.join(header)[:80]}'")
        place = header.index("filename")
        return [fields[place] for _, fields in lines]
    except ValueError as error:
        raise ValueError(f"{path} is not a CSV file of filename,label ({error})") from error


def prepare(ilsvrc: Path, lists: Path, output: Path) -> int:
    """Writes the listed images, and returns the number of new files."""
    written = 0
    for split in SPLITS:
        csv_file = lists / f"{split}.csv"
        by_class: dict[str, list[tuple[str, int]]] = {}
        for name in listed(csv_file):
            match = NAME.fullmatch(name)
            if match is None:
                raise ValueError(f"{csv_file}: {name} is not of the form n0153282900000005.jpg")
            by_class.setdefault(match[1], []).append((name, int(match[2])))
        for label, chosen in track(by_class.items(), split):
            images, folder = originals(ilsvrc / label), output / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for name, place in chosen:
                if not 1 <= place <= len(images):
                    raise ValueError(f"{ilsvrc / label} has {len(images)} images, so it has no number {place}")
                path = folder / Path(name).with_suffix(".png")
                if not path.exists():
                    original = images[place - 1]
                    image = Image.fromarray(fit(decode(original.read_bytes(), str(original)), SIZE, SIZE))
                    write_atomically(path, lambda file, image=image: image.save(file, "PNG"))  # type: ignore[misc]
                    written += 1
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ilsvrc", type=Path, help="folder of the training images, one folder for each class")
    parser.add_argument("lists", type=Path, help="folder of train.csv, val.csv and test.csv")
    parser.add_argument("output", type=Path, help="folder to fill: <paths.data>/mini_imagenet")
    given = parser.parse_args()
    try:
        count = prepare(given.ilsvrc, given.lists, given.output)
    except (OSError, ValueError) as error:
        sys.exit(f"prepare_mini_imagenet: {error}")
    print(f"wrote {count} images to {given.output}")


if __name__ == "__main__":
    main()
