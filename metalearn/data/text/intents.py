"""CLINC150, BANKING77, HWU64 and Liu: requests to an assistant, by intent, in five class splits.

Thomas Dopierre, Christophe Gravier, Wilfried Logerais. ProtAugment: Unsupervised diverse
short-texts paraphrasing for intent detection meta-learning. ACL 2021, arXiv 2105.12995: the splits.
Stefan Larson et al. 2019 (CLINC150), Iñigo Casanueva et al. 2020 (BANKING77), Xingkun Liu et al.
2019 (HWU64 and Liu): the sentences.
"""

from importlib import resources
from pathlib import Path

from metalearn.data import splits as published
from metalearn.data.bank import ClassBank
from metalearn.data.files.download import download
from metalearn.data.files.names import class_name, some
from metalearn.data.files.regular import read_regular
from metalearn.data.files.source import named
from metalearn.data.overlap import in_two_splits
from metalearn.data.text.banks import text_banks, text_shape
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.reading import Texts, read_texts
from metalearn.data.text.tokens import Encoding
from metalearn.types import Split

FILES: dict[Split, str] = {"train": "train", "val": "valid", "test": "test"}
NAMES = ("clinc150", "banking77", "hwu64", "liu")
FOLDS = 5
ADVICE = "copy it from https://github.com/tdopierre/ProtAugment, data/BANKING77, HWU64, Liu or OOS (clinc150)"
MD5 = "intents.md5"  # checksums of the authors' files, as md5sum writes them


class Intents:
    """Sentences of one of the four sets as a Source, divided by one of the five splits.

    Args:
        root: folder of all data, in which the set is `name`/ or text/`name`/. Absent files are
            downloaded to it.
        name: name of the set: clinc150, banking77, hwu64 or liu.
        fold: number of the split, 1 to 5; published numbers are means over all of them.
        input_shape: largest number of tokens of a sentence, which is cut after them.
        encoding: conversion of texts to ids.
        url: address of the authors' folder of the set.

    Examples:
        >>> encoding = Encoding(kind="words", num_tokens=100, buckets=9, words=None, tokenizer=None)
        >>> place = {"root": "data", "url": "https://example.org/data/BANKING77"}
        >>> source = Intents(**place, name="banking77", fold=1, input_shape=[32], encoding=encoding)
        >>> source.input_shape
        (32,)
        >>> source.load()["test"].num_classes  # doctest: +SKIP
        27
    """

    has_class_splits = True  # which `fold` numbers

    def __init__(
        self, root: str, *, name: str, fold: int, input_shape: list[int], encoding: Encoding, url: str
    ) -> None:
        if name not in NAMES:
            raise ValueError(f"intents: name={name} must be one of {', '.join(NAMES)}; use dataset=text for own texts")
        if not 1 <= fold <= FOLDS:
            raise ValueError(f"{name}: fold={fold} must be 1 to {FOLDS}")
        self.root, self.name, self.fold, self.encoding, self.url = Path(root), name, fold, encoding, url
        self.input_shape = text_shape(name, input_shape)

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the splits.

        Raises ValueError or OSError in one line: what is missing, and where to put it.
        """
        with named(self.name):
            folder = self._folder()
            texts = read_texts(self._file(folder, "full.jsonl"), key="sentence")
            splits = {split: self._split(folder, file, texts) for split, file in FILES.items()}
            if twice := in_two_splits(splits):
                name, places = next(iter(twice.items()))
                raise ValueError(f"split {self.fold} has {name} in {' and in '.join(places)}")
            self.preparation = TextPreparation.of_training(self.encoding, splits, *self.input_shape)
            return text_banks(self.name, splits, self.preparation)

    def _folder(self) -> Path:
        places = [self.root / self.name, self.root / "text" / self.name]
        return next((place for place in places if (place / "full.jsonl").exists()), places[0])

    def _file(self, folder: Path, name: str) -> Path:
        """Returns a file of the authors' folder, downloaded if absent."""
        try:
            download(f"{self.url}/{name}", folder / name, md5=md5_of(f"{self.name}/{name}"))
        except (OSError, ValueError) as error:
            raise FileNotFoundError(f"{(folder / name).absolute()} is absent; {ADVICE} ({error})") from error
        return folder / name

    def _split(self, folder: Path, file: str, texts: Texts) -> Texts:
        path = folder / "splits" / f"{self.fold:02}" / f"{file}.txt"
        if not path.exists():
            path = self._file(folder, f"few_shot/{self.fold:02}/labels.{file}.txt")  # the authors' layout
        try:
            names = [class_name(line) for line in read_regular(path, 1 << 20).decode().splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a list of classes: its text is not UTF-8") from error
        if unknown := sorted(set(names) - texts.keys()):
            raise ValueError(f"{folder}/full.jsonl has no texts of {len(unknown)} classes of {path}: {some(unknown)}")
        return {name: texts[name] for name in names}


def md5_of(name: str) -> str:
    """Returns the MD5 of a file of the authors, such as liu/full.jsonl."""
    lines = resources.files(published).joinpath(MD5).read_text(encoding="utf-8").splitlines()
    return {file: md5 for md5, file in map(str.split, lines)}[name]
