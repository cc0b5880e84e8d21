"""Images of a user, in files."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from metalearn.data.files.any_image import LARGEST, decode
from metalearn.data.files.class_files import files_by_folder, files_by_list
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.regular import read_regular
from metalearn.learner.inputs import Input
from metalearn.predict.files import Item, to_be_sorted
from metalearn.predict.reader import AbstractReader, check_present


class ImageReader(AbstractReader):
    """Reader of image files; a list of examples is a CSV file of path,label."""

    kind, column = "image", "path"

    def __init__(self, preparation: Preparation) -> None:
        super().__init__()
        self.preparation = preparation

    def examples(self, support: Path) -> list[tuple[Item, str]]:
        check_present(support)
        of_class = files_by_list(support) if support.is_file() else files_by_folder(support)
        if empty := [name for name, files in of_class.items() if not files]:
            raise ValueError(f"the class {empty[0]} of {support} has no images")
        return [(Path(path), name) for name, files in of_class.items() for path in files]

    def queries(self, places: Iterable[Path]) -> list[Item]:
        return [*to_be_sorted(places)]

    def open(self, item: Item) -> Image.Image:
        channels, bits = self.preparation.input_shape[0], self.preparation.bits
        return decode(read_regular(item, LARGEST), channels, bits)

    def shrunk(self, given: Input) -> Image.Image:
        assert isinstance(given, Image.Image)
        return self.preparation.to_image(self.preparation.of_image(given))

    def name(self, item: Item) -> str:
        return Path(item).name
