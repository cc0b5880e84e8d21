"""Files of a user: examples of each class, and images to be sorted, without other files."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import track

from metalearn.data.files.any_image import LARGEST, decode
from metalearn.data.files.class_files import files_by_folder, files_by_list
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.regular import read_regular


class Reader:
    """Opens images one by one; records the readable files, and the reasons of all others."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        self.unreadable: dict[Path, str] = {}

    def open(self, path: Path) -> Image.Image:
        """Opens an image. Raises ValueError or OSError, with the reason, if it is none."""
        channels, bits = self.preparation.input_shape[0], self.preparation.bits
        return decode(read_regular(path, LARGEST), channels, bits)

    def opened(self, paths: Iterable[Path], title: str, read: list[Path]) -> Iterator[Image.Image]:
        """Yields the images among the files, and adds their paths to `read` one by one.

        A progress bar shows if it takes long.
        """
        paths = list(paths)
        for path in track(paths, title, console=Console(stderr=True), transient=True, disable=len(paths) < 100):
            try:
                image = self.open(path)
            except (ValueError, OSError) as error:
                self.unreadable[path] = " ".join(str(error).split())
                continue
            read.append(path)
            yield image


def examples(support: Path) -> dict[Path, str]:
    """Returns the class of each example, in a folder of folders or in a list.

    Raises ValueError or OSError in one line.
    """
    if not support.exists():
        raise FileNotFoundError(f"--support {support} is absent; it is a folder of examples for each class, or a CSV")
    of_class = files_by_list(support) if support.is_file() else files_by_folder(support)
    return {Path(path): name for name, files in of_class.items() for path in files}


def to_be_sorted(places: Iterable[Path]) -> list[Path]:
    """Returns the files, and all visible files below the folders, each once.

    Raises OSError for absent ones.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"--query {place} is absent")
        for path in _below(place) if place.is_dir() else [place]:
            found[path] = None
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(parent, name) for name in sorted(names) if name[0] != ".")
