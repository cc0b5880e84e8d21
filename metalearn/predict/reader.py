"""Reader of a user's inputs: examples of each class, and others to be sorted."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.progress import track

from metalearn.formats import one_line
from metalearn.learner.inputs import Input
from metalearn.predict.files import Item


class AbstractReader(ABC):
    """Opens items one by one; records the reasons of those that cannot be read."""

    kind: ClassVar[str]  # image or text
    column: ClassVar[str]  # name of an item in a list

    def __init__(self) -> None:
        self.unreadable: dict[Item, str] = {}

    @abstractmethod
    def examples(self, support: Path) -> list[tuple[Item, str]]:
        """Returns the examples, each with its class, of a folder of folders or of a list.

        Raises ValueError or OSError in one line.
        """

    @abstractmethod
    def queries(self, places: Iterable[Path]) -> list[Item]:
        """Returns the items to be sorted. Raises OSError for absent places."""

    @abstractmethod
    def open(self, item: Item) -> Input:
        """Opens an item. Raises ValueError or OSError, with the reason, if it cannot be read."""

    @abstractmethod
    def shrunk(self, given: Input) -> Input:
        """Returns an input in the size that the network takes, prepared as the given one is."""

    @abstractmethod
    def name(self, item: Item) -> str:
        """Returns the name of an item on the page."""

    def leave_out(self, item: Item, error: Exception) -> None:
        """Records why an item cannot be read."""
        self.unreadable[item] = one_line(error)

    def opened(self, items: Iterable[Item], title: str) -> Iterator[Input]:
        """Yields the inputs of the readable items; the others are then in `unreadable`.

        A progress bar shows if it takes long.
        """
        items = list(items)
        for item in track(items, title, console=Console(stderr=True), transient=True, disable=len(items) < 100):
            try:
                given = self.open(item)
            except (ValueError, OSError) as error:
                self.leave_out(item, error)
            else:
                yield given

    def readable(self, items: Iterable[Item]) -> list[Item]:
        """Returns the items whose inputs `opened` has yielded."""
        return [item for item in items if item not in self.unreadable]


def check_present(support: Path) -> None:
    """Raises FileNotFoundError if there are no examples."""
    form = "it is a folder of examples for each class, or a list"
    if not support.exists():
        raise FileNotFoundError(f"the support set {support} is absent; {form}")
    if support.is_dir() and not any(entry.is_dir() and entry.name[0] != "." for entry in support.iterdir()):
        raise FileNotFoundError(f"the support set {support} has no folders; {form}")
