"""Caltech-UCSD Birds-200-2011: 200 kinds of birds, 11,788 photographs.

Catherine Wah, Steve Branson, Peter Welinder, Pietro Perona, Serge Belongie: The Caltech-UCSD
Birds-200-2011 Dataset. Technical report CNS-TR-2011-001, California Institute of Technology 2011.
Split: Wei-Yu Chen, Yen-Cheng Liu, Zsolt Kira, Yu-Chiang Frank Wang, Jia-Bin Huang: A Closer Look at
Few-shot Classification. ICLR 2019, arXiv:1904.04232.
"""

import logging
from pathlib import Path

from metalearn.data.files.image_array import Plan
from metalearn.data.files.image_files import ClassLists, files_of, plan_of_files
from metalearn.data.files.names import some
from metalearn.data.files.regular import read_regular
from metalearn.data.files.table import LARGEST, BadLine
from metalearn.data.photographs import AbstractPhotographs
from metalearn.data.splits import read_split
from metalearn.types import SPLITS

log = logging.getLogger(__name__)

NUM_IMAGES = 11_788  # published number
ADVICE = "unpack CUB_200_2011.tgz there, so that it has CUB_200_2011/images/ and images.txt (docs/datasets/cub.md)"


class CUB(AbstractPhotographs):
    """CUB-200-2011 as a Source, in the split of Chen et al. 2019: 100, 50 and 50 classes.

    The photographs are resized whole, not cropped to the birds.

    Args:
        root: folder that holds CUB_200_2011, or its content.
        cache: folder of the cache files.
        input_shape: [3, H, W].

    Examples:
        >>> source = CUB("data", cache="cache", input_shape=[3, 84, 84])
        >>> source.input_shape
        (3, 84, 84)
        >>> source.load()["test"].num_classes  # doctest: +SKIP
        50
    """

    in_imagenet = "some"  # two species of meta-test are classes there, and some images are the same

    def __init__(self, root: str, *, cache: str, input_shape: list[int]) -> None:
        super().__init__("cub", read_split("cub", "chen"), root, cache, input_shape)

    def plan(self) -> Plan:
        plan = make_plan(self.root, self.classes)
        if (count := sum(map(plan.num_images, SPLITS))) != NUM_IMAGES:
            log.warning("cub: found %d images; the published data set has %d", count, NUM_IMAGES)
        return plan


def make_plan(root: Path, classes: ClassLists) -> Plan:
    """Plans the images of the folder images/, after a comparison with images.txt."""
    if (root / "CUB_200_2011").is_dir():
        root = root / "CUB_200_2011"
    if not (root / "images").is_dir():
        raise FileNotFoundError(f"{root.absolute()} has no images/; {ADVICE}")
    listing = root / "images.txt"
    listed = _listed(listing)
    files = files_of(root / "images", classes)
    for of_split in files.values():
        for name, of_class in of_split.items():
            present = {f"{name}/{Path(path).name}" for path in of_class}
            expected = listed.get(name, set())
            if absent := sorted(expected - present):
                raise ValueError(f"{len(absent)} files that {listing} names are absent: {some(absent)}")
            if strange := sorted(present - expected):
                raise ValueError(f"{len(strange)} files are not in {listing}: {some(strange)}")
            if not present:
                raise ValueError(f"{listing} has no image of the class {name}")
    return plan_of_files(files)


def _listed(path: Path) -> dict[str, set[str]]:
    """Reads the images of each class from the listing, as "001.Black_footed_Albatross/....jpg"."""
    listed: dict[str, set[str]] = {}
    try:
        for number, line in enumerate(read_regular(path, LARGEST).splitlines(), start=1):
            try:
                _, image = line.decode().split()  # number and name
            except ValueError as error:
                raise BadLine(number, f"it is {line.decode(errors='replace')!a}"[:100]) from error
            listed.setdefault(image.partition("/")[0], set()).add(image)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.absolute()} is missing beside images/; {ADVICE}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not a list with a number and a file name in each line ({error})") from error
    return listed
