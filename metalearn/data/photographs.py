"""Coloured images of published classes, found in files and mapped from one array: what such data sets share."""

from abc import ABC, abstractmethod
from pathlib import Path

from metalearn.data.bank import ClassBank
from metalearn.data.files.image_array import Plan, open_banks
from metalearn.data.files.image_files import ClassLists
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.source import image_shape, named
from metalearn.types import Split


class AbstractPhotographs(ABC):
    """A Source of RGB images, resized to `input_shape`; a subclass plans what is in `root`.

    `name` begins every error and the name of the file in the folder `cache`.
    """

    def __init__(self, name: str, classes: ClassLists, root: str, cache: str, input_shape: list[int]) -> None:
        self.input_shape = image_shape(name, input_shape, [3])
        self.preparation = Preparation(self.input_shape)
        self.name = name
        self.classes = classes
        self.root = Path(root)
        self.cache = Path(cache)

    def load(self) -> dict[Split, ClassBank]:
        """The banks of the three splits, mapped from the cache when that was made of these very files.

        Raises ValueError or OSError with one line: what is missing or damaged, and where to put it.
        """
        with named(self.name):
            return open_banks(self.cache, self.name, self.plan(), self.input_shape)

    @abstractmethod
    def plan(self) -> Plan:
        """What the files in `root` will give, before any image is read; ValueError or OSError when they do not fit."""
