"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn once by 20 people.

Brenden Lake, Ruslan Salakhutdinov, Joshua Tenenbaum: Human-level concept learning through
probabilistic program induction. Science 350, 2015. MIT licence,
https://github.com/brendenlake/omniglot
"""

import hashlib
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from metalearn.data.bank import ClassBank
from metalearn.data.files.any_image import open_image
from metalearn.data.files.cache import cached
from metalearn.data.files.download import found_or_downloaded, zip_members
from metalearn.data.files.names import some
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.regular import open_zip, read_regular
from metalearn.data.files.source import check_memory, image_shape, named
from metalearn.data.rotations import DEGREES, rotated
from metalearn.data.splits import read_split
from metalearn.types import Split

MD5 = {  # MD5 of the two official archives
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
# Archives packed on a Mac have a hidden "._0709_01.png" beside every drawing.
DRAWING = re.compile(r"images_(?:background|evaluation)/([^/]+/character\d\d/(?!\._)[^/]+\.png)")
ADVICE = "replace it, or delete it to have it downloaded"
NUM_DRAWINGS = 20  # number for each character, each by another person
SIZE = (105, 105)  # height and width of a drawing in pixels
LARGEST = 1 << 16  # limit of a drawing's file in bytes; the official files have some hundred
PROCESSING = 1  # part of the cache key; increase it when `process` changes its pixels


class Omniglot:
    """Omniglot as a Source; ink is 255 and paper is 0.

    Args:
        root: folder that holds images_background and images_evaluation as folders or zips; absent
            ones are downloaded to it.
        cache: folder of the cache files.
        split: `vinyals` (Vinyals et al. 2016), or `lake` (Lake et al. 2015) and its small variants.
        rotations: whether each rotation of a character by 90, 180 or 270 degrees is a class of its
            own, in every split (Vinyals et al. 2016).
        input_shape: [1, H, W].
        url: address of the folder of the archives.

    Examples:
        >>> url = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
        >>> source = Omniglot(
        ...     "data", cache="cache", split="vinyals", rotations=True, input_shape=[1, 28, 28],
        ...     url=url,
        ... )
        >>> source.input_shape
        (1, 28, 28)
        >>> source.load()["test"].num_classes  # doctest: +SKIP
        1692
    """

    in_imagenet = "none"

    def __init__(self, root: str, *, cache: str, split: str, rotations: bool, input_shape: list[int], url: str) -> None:
        self.input_shape = image_shape("omniglot", input_shape, [1])
        _, height, width = self.input_shape
        if rotations and height != width:
            raise ValueError(f"omniglot: rotations need square images, not {height} x {width}")
        self.preparation = Preparation(self.input_shape, invert=True)
        self.root = Path(root)
        self.cache = Path(cache)
        self.characters = read_split("omniglot", split)
        self.rotations = rotations
        self.url = url

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the three splits, from a cache that matches these very drawings.

        Raises ValueError or OSError in one line: what is missing or damaged, and where to put it.
        """
        classes = (4 if self.rotations else 1) * sum(map(len, self.characters.values()))
        with named("omniglot"):
            check_memory(classes * NUM_DRAWINGS * math.prod(self.input_shape))
            drawings = self._drawings()  # (characters, 20, H, W)
        row = {character: i for i, character in enumerate(sorted(sum(_halves().values(), ())))}
        return {
            split: _bank(drawings[[row[character] for character in characters]], characters, self.rotations)
            for split, characters in self.characters.items()
        }

    def _drawings(self) -> np.ndarray:
        """Returns all drawings, (characters, 20, H, W) uint8, sorted by character name."""
        paths = [self._find(half) for half in _halves()]
        sums = [_checksums(path) for path in paths]  # crc32 by name, for each half
        for path, names, characters in zip(paths, sums, _halves().values(), strict=True):
            _verify(path, names, characters)
        _, height, width = self.input_shape
        # Names start at the alphabet, and a zip's directory has the same sums, so that zip and
        # folder share one key.
        content = "".join(f"{name} {crc:08x}\n" for name, crc in sorted((sums[0] | sums[1]).items()))
        key = hashlib.sha256(f"{PROCESSING} {height} {width}\n{content}".encode()).hexdigest()[:16]
        path = self.cache / f"omniglot-{height}x{width}-{key}.npz"
        halves = list(zip(paths, sums, strict=True))
        return cached(path, lambda: {"drawings": _process_all(halves, height, width)})["drawings"]

    def _find(self, half: str) -> Path:
        packed = f"{half}.zip"
        return found_or_downloaded(self.root / half, self.root / packed, f"{self.url}/{packed}", md5=MD5[half])


def process(png: bytes, height: int, width: int) -> np.ndarray:
    """Decodes one drawing, ink 255 and paper 0, by the filter of Finn et al. 2017: (H, W) uint8.

    Raises ValueError for a damaged image, or one of another size.
    """
    with open_image(png, ("PNG",)) as image:
        if image.size != SIZE:
            raise ValueError(f"a drawing of {image.width} x {image.height} pixels")
        # The image is converted to grey first, because Pillow resizes 1-bit images by nearest
        # pixels, whatever the filter.
        return Preparation((1, height, width), invert=True).of_image(image)[..., 0]  # (H, W)


def _process_all(halves: list[tuple[Path, dict[str, int]]], height: int, width: int) -> np.ndarray:
    """Decodes the drawings of all halves, (characters, 20, H, W) uint8, sorted by name."""
    row = {name: i for i, name in enumerate(sorted(name for _, names in halves for name in names))}
    drawings = np.empty((len(row), height, width), np.uint8)
    pngs = (half for path, names in halves for half in _read(path, names))
    console = Console(stderr=True)
    for file, name, png in track(pngs, "omniglot", len(row), console=console, transient=True):
        try:
            drawings[row[name]] = process(png, height, width)
        except ValueError as error:
            raise ValueError(f"{file} is damaged: no PNG image of {SIZE[0]} x {SIZE[1]} pixels") from error
    return drawings.reshape(-1, NUM_DRAWINGS, height, width)


def _bank(drawings: np.ndarray, characters: tuple[str, ...], rotations: bool) -> ClassBank:
    """Builds the bank of a split from drawings (characters, 20, H, W), with rotations if asked."""
    turns = range(len(DEGREES) if rotations else 1)
    num_characters, num_drawings, height, width = drawings.shape
    images = np.empty((num_characters, len(turns), num_drawings, 1, height, width), np.uint8)
    for turn in turns:  # counter-clockwise, as PIL's rotate and Snell et al. 2017
        images[:, turn, :, 0] = np.rot90(drawings, turn, axes=(-2, -1))
    names = [rotated(name, degrees) for name in characters for degrees in DEGREES] if rotations else [*characters]
    return ClassBank.from_classes(images.reshape(-1, *images.shape[2:]), names)


def _halves() -> dict[str, tuple[str, ...]]:
    """Returns each half's characters; the background half is Lake's meta-train and meta-val."""
    lake = read_split("omniglot", "lake")
    return {"images_background": lake["train"] + lake["val"], "images_evaluation": lake["test"]}


def _checksums(path: Path) -> dict[str, int]:
    """Returns the crc32 of each drawing in a folder or zip, by "Alphabet/characterNN/file.png"."""
    if path.is_dir():
        names = (file.relative_to(path.parent).as_posix() for file in path.glob("*/*/*.png"))
        drawings = [match[1] for name in names if (match := DRAWING.fullmatch(name))]
        return {name: zlib.crc32(read_regular(path / name, LARGEST)) for name in drawings}
    with open_zip(path, advice=ADVICE) as archive:
        sums: dict[str, int] = {}
        for file in zip_members(archive):
            if match := DRAWING.fullmatch(file.filename):
                if file.file_size > LARGEST:
                    raise ValueError(f"{file.filename} has {file.file_size:,} bytes unpacked; a drawing has few")
                sums[match[1]] = file.CRC
    return sums


def _read(path: Path, names: Iterable[str]) -> Iterator[tuple[Path, str, bytes]]:
    """Yields path (for errors), name and bytes of each drawing in a folder or zip."""
    if path.is_dir():
        yield from ((path / name, name, read_regular(path / name, LARGEST)) for name in names)
        return
    with open_zip(path, advice=ADVICE) as archive:
        yield from ((path / name, name, archive.read(f"{path.stem}/{name}")) for name in names)


def _verify(path: Path, names: Iterable[str], characters: tuple[str, ...]) -> None:
    """Raises ValueError if the half at `path` lacks characters or drawings, or has strange ones."""
    counts = Counter(name.rsplit("/", 1)[0] for name in names)
    if missing := [character for character in characters if character not in counts]:
        present = f"{path} has {len(characters) - len(missing)} of {len(characters)} characters"
        raise ValueError(f"{present} as {path.stem}/<Alphabet>/characterNN/*.png; missing {some(missing)}")
    if surplus := sorted(counts.keys() - set(characters)):
        raise ValueError(f"{path} has {surplus[0]}, which is not a character of Omniglot's {path.stem}")
    for character in characters:
        if counts[character] != NUM_DRAWINGS:
            raise ValueError(f"{path}: {character} has {counts[character]} of {NUM_DRAWINGS} drawings")
