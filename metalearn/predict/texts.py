"""Texts of a user, in files of lines or in lists."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

from metalearn.data.files.class_files import files_by_folder
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.reading import read_texts, read_unlabelled
from metalearn.learner.inputs import Input
from metalearn.predict.files import Item, to_be_sorted
from metalearn.predict.reader import AbstractReader, check_present

LONGEST_NAME = 400  # limit of a text on the page in characters


class TextReader(AbstractReader):
    """Reader of texts; a list of examples is a CSV file of text,label, or JSONL of such objects.

    A plain file has a text in each line, in the folder of a class as well.
    """

    kind, column = "text", "text"

    def __init__(self, preparation: TextPreparation) -> None:
        super().__init__()
        self.preparation = preparation

    def examples(self, support: Path) -> list[tuple[Item, str]]:
        check_present(support)
        if support.is_file():
            of_class = read_texts(support, fewest=1)
            return [(text, name) for name, texts in of_class.items() for text in texts]
        examples = list[tuple[Item, str]]()
        for name, files in files_by_folder(support).items():
            texts = [*self._texts(map(Path, files))]
            if not texts:
                raise ValueError(f"the class {name} of {support} has no readable text")
            examples += [(text, name) for text in texts]
        return examples

    def queries(self, places: Iterable[Path]) -> list[Item]:
        return [*self._texts(to_be_sorted(places))]

    def _texts(self, files: Iterable[Path]) -> Iterable[str]:
        for file in files:
            try:
                yield from read_unlabelled(file)
            except (ValueError, OSError) as error:
                self.leave_out(file, error)

    def open(self, item: Item) -> str:
        text = str(item)
        self.preparation.of_text(text)
        return text

    def shrunk(self, given: Input) -> Input:
        return given

    def name(self, item: Item) -> str:
        return textwrap.shorten(str(item), LONGEST_NAME, placeholder=" ...")
