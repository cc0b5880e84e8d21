"""CLINC150, BANKING77, HWU64 and Liu: requests to an assistant, by intent, in five class splits.

Thomas Dopierre, Christophe Gravier, Wilfried Logerais. ProtAugment: Unsupervised diverse
short-texts paraphrasing for intent detection meta-learning. ACL 2021, arXiv 2105.12995: the splits.
Stefan Larson et al. 2019 (CLINC150), Iñigo Casanueva et al. 2020 (BANKING77), Xingkun Liu et al.
2019 (HWU64 and Liu): the sentences.
"""

from pathlib import Path

from metalearn.data.bank import ClassBank
from metalearn.data.files.names import class_name, some
from metalearn.data.files.regular import read_regular
from metalearn.data.files.source import named
from metalearn.data.text.banks import text_banks, text_shape
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.reading import Texts, read_texts
from metalearn.data.text.tokens import Encoding
from metalearn.types import SPLITS, Split

FILES: dict[Split, str] = {"train": "train", "val": "valid", "test": "test"}
FOLDS = 5
ADVICE = "copy it from https://github.com/tdopierre/ProtAugment, data/BANKING77, HWU64, Liu or OOS (clinc150)"


class Intents:
    """Sentences of one of the four sets as a Source, divided by one of the five splits.

    Args:
        root: folder of all data, in which the set is `name`/ or text/`name`/.
        name: name of the set.
        fold: number of the split, 1 to 5; published numbers are means over all of them.
        input_shape: largest number of tokens of a sentence, which is cut after them.
        encoding: conversion of texts to ids.

    Examples:
        >>> encoding = Encoding(kind="words", num_tokens=100, buckets=9, words=None, tokenizer=None)
        >>> source = Intents("data", name="banking77", fold=1, input_shape=[32], encoding=encoding)
        >>> source.input_shape
        (32,)
        >>> source.load()["test"].num_classes  # doctest: +SKIP
        27
    """

    def __init__(self, root: str, *, name: str, fold: int, input_shape: list[int], encoding: Encoding) -> None:
        if not 1 <= fold <= FOLDS:
            raise ValueError(f"{name}: fold={fold} must be 1 to {FOLDS}")
        self.root, self.name, self.fold, self.encoding = Path(root), name, fold, encoding
        self.input_shape = text_shape(name, input_shape)

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the splits.

        Raises ValueError or OSError in one line: what is missing, and where to put it.
        """
        with named(self.name):
            folder = self._folder()
            texts = read_texts(folder / "full.jsonl", key="sentence")
            splits = {split: self._split(folder, file, texts) for split, file in FILES.items()}
            places: dict[str, Split] = {}
            for split in SPLITS:
                if twice := sorted(places.keys() & splits[split].keys()):
                    raise ValueError(f"split {self.fold} has {some(twice)} in {split} and in {places[twice[0]]}")
                places |= dict.fromkeys(splits[split], split)
            self.preparation = TextPreparation.of_training(self.encoding, splits, *self.input_shape)
            return text_banks(self.name, splits, self.preparation)

    def _folder(self) -> Path:
        places = [self.root / self.name, self.root / "text" / self.name]
        for place in places:
            if (place / "full.jsonl").exists():
                return place
        raise FileNotFoundError(f"{places[0].absolute()}/full.jsonl is absent; {ADVICE}")

    def _split(self, folder: Path, file: str, texts: Texts) -> Texts:
        path = folder / "few_shot" / f"{self.fold:02}" / f"labels.{file}.txt"  # the authors' layout
        if not path.exists():
            path = folder / "splits" / f"{self.fold:02}" / f"{file}.txt"
        try:
            names = [class_name(line) for line in read_regular(path, 1 << 20).decode().splitlines() if line.strip()]
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path.absolute()} is absent; {ADVICE}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a list of classes: its text is not UTF-8") from error
        if unknown := sorted(set(names) - texts.keys()):
            raise ValueError(f"{folder}/full.jsonl has no texts of {len(unknown)} classes of {path}: {some(unknown)}")
        return {name: texts[name] for name in names}
