"""Base class of colour data sets with published classes: files, mapped from one array."""

from abc import ABC, abstractmethod
from pathlib import Path

from metalearn.data.bank import ClassBank
from metalearn.data.files.image_array import Plan, open_banks
from metalearn.data.files.image_files import ClassLists
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.source import image_shape, named
from metalearn.types import Split


class AbstractPhotographs(ABC):
    """Source of RGB images, resized to `input_shape`; a subclass plans the images in `root`.

    Args:
        name: name of the data set, at the start of every error and of the cache file.
        classes: names of the classes of each split.
        root: folder of the images.
        cache: folder of the cache files.
        input_shape: [3, H, W].
    """

    def __init__(self, name: str, classes: ClassLists, root: str, cache: str, input_shape: list[int]) -> None:
        self.input_shape = image_shape(name, input_shape, [3])
        self.preparation = Preparation(self.input_shape)
        self.name = name
        self.classes = classes
        self.root = Path(root)
        self.cache = Path(cache)

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the three splits, mapped from a cache that matches these very files.

        Raises ValueError or OSError in one line: what is missing or damaged, and where to put it.
        """
        with named(self.name):
            return open_banks(self.cache, self.name, self.plan(), self.input_shape)

    @abstractmethod
    def plan(self) -> Plan:
        """Plans the images in `root` before any is read. Raises ValueError or OSError."""
