"""One-shot language modelling: which of N words is missing in a sentence?

Oriol Vinyals et al. Matching Networks for One Shot Learning. NeurIPS 2016, arXiv 1606.04080,
section 4.2, on the Penn Treebank; Kaan Ucar et al. 2020, arXiv 2007.09679, on WikiText-2. A class
is a word, an example a sentence in which it is blank. The support has k sentences of each word.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from metalearn.data.bank import ClassBank
from metalearn.data.files.download import zip_members
from metalearn.data.files.regular import open_zip, read_regular
from metalearn.data.files.source import named
from metalearn.data.manifest import Division
from metalearn.data.text.banks import divided, text_shape
from metalearn.data.text.reading import LONGEST, Texts
from metalearn.data.text.tokens import BLANK, Encoding, split_words
from metalearn.types import Split

SHORTEST = 5  # smallest number of words of a sentence
LARGEST = 1 << 30  # limit of a plain text, or of all texts of a zip, in bytes
BROWN = re.compile(r"(?:.*/)?c[a-r]\d\d$")  # NLTK's names of the texts of the Brown corpus
END = re.compile(r"(?<=[.!?])\s+")


class Cloze:
    """Sentences of a text with a blank, as a Source; the classes are the missing words.

    Each sentence belongs to one word alone, the rarest that still needs sentences. No sentence and
    no word is in two splits.

    Args:
        root: plain text in UTF-8, or the zip of the Brown corpus from NLTK.
        manifest: file that lists the split of each word; an absent one is drawn and written.
        split: fractions of the words for meta-train, meta-val and meta-test.
        split_seed: seed of the draw.
        sentences: number of sentences of each word; words with fewer are no classes.
        input_shape: largest number of words and of tokens of a sentence, which is cut around its
            blank.
        encoding: conversion of texts to ids.

    Examples:
        >>> encoding = Encoding(kind="words", num_tokens=100, buckets=9, words=None, tokenizer=None)
        >>> source = Cloze(
        ...     "brown.zip", manifest="classes.csv", split=[0.8, 0.1, 0.1], split_seed=0,
        ...     sentences=10, input_shape=[32], encoding=encoding,
        ... )
        >>> source.input_shape
        (32,)
        >>> source.load()["train"].images.shape  # ids of the tokens, (M, L)  # doctest: +SKIP
        torch.Size([36930, 32])
    """

    def __init__(
        self,
        root: str,
        *,
        manifest: str,
        split: list[float],
        split_seed: int,
        sentences: int,
        input_shape: list[int],
        encoding: Encoding,
    ) -> None:
        if sentences < 2:
            raise ValueError(f"cloze: sentences={sentences} must be at least 2, to learn from and to ask for")
        self.root, self.sentences, self.encoding = Path(root), sentences, encoding
        self.input_shape = text_shape("cloze", input_shape)
        self.division = Division("cloze", self.root, Path(manifest), split, split_seed)

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the splits.

        Raises ValueError or OSError in one line: what is missing or wrong.
        """
        with named("cloze"):
            if not self.root.exists():
                advice = "dataset.root=FILE is a plain text, or brown.zip of NLTK's data"
                raise FileNotFoundError(f"{self.root.absolute()} is absent; {advice}")
            texts = blanked(read_sentences(self.root), each=self.sentences, longest=self.input_shape[0])
            if not texts:
                raise ValueError(f"{self.root} has no word in {self.sentences} sentences: lower dataset.sentences=N")
            self.preparation, banks = divided(texts, self.division, self.encoding, self.input_shape)
            return banks


def blanked(sentences: Iterable[list[str]], *, each: int, longest: int) -> Texts:
    """Returns `each` sentences for each word that gets as many, with blanks in its place.

    A sentence keeps `longest` words around the first blank. Rare words choose first, in the order
    of a hash that no version changes.
    """
    distinct = {" ".join(words): words for words in sentences if len(words) >= SHORTEST}
    order = sorted(distinct, key=lambda text: hashlib.sha256(text.encode()).digest())
    with_word: dict[str, list[str]] = {}
    for text in order:
        for word in sorted(set(distinct[text])):
            if word.isalpha():
                with_word.setdefault(word, []).append(text)
    taken: set[str] = set()
    chosen: Texts = {}
    for word in sorted(with_word, key=lambda word: (len(with_word[word]), word)):
        free = [text for text in with_word[word] if text not in taken][:each]
        if len(free) == each:
            taken.update(free)
            chosen[word] = [_blank(distinct[text], word, longest) for text in free]
    return chosen


def _blank(words: list[str], word: str, longest: int) -> str:
    begin = min(max(words.index(word) - longest // 2, 0), max(len(words) - longest, 0))
    return " ".join(BLANK if other == word else other for other in words[begin : begin + longest])


def read_sentences(path: Path) -> list[list[str]]:
    """Reads the sentences of a plain text or of the Brown corpus, each as its words."""
    texts = _brown(path) if path.suffix == ".zip" else END.split(_decoded(read_regular(path, LARGEST), path))
    if (longest := max(map(len, texts), default=0)) > LONGEST:
        raise ValueError(
            f"{path} has a sentence of {longest:,} characters, more than {LONGEST:,}: it is not plain text"
        )
    return [split_words(text.replace(BLANK, " ")) for text in texts]


def _brown(path: Path) -> list[str]:
    """Reads the sentences of the corpus, a line each, without the tag after each word."""
    with open_zip(path, advice="replace it") as archive:
        sizes = {file.filename: file.file_size for file in zip_members(archive) if BROWN.match(file.filename)}
        if (size := sum(sizes.values())) > LARGEST:
            raise ValueError(f"its texts have {size:,} bytes unpacked, more than {LARGEST:,}")
        content = b"\n".join(archive.read(name) for name in sorted(sizes))
    if not sizes:
        raise ValueError(f"{path} has no texts of the Brown corpus, such as brown/ca01")
    lines = _decoded(content, path).splitlines()
    return [" ".join(token.rpartition("/")[0] for token in line.split()) for line in lines if line.strip()]


def _decoded(content: bytes, path: Path) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path} is not plain text in UTF-8: line {line} has other letters") from error
    if "\0" in text:
        raise ValueError(f"{path} is not plain text: it holds the character NUL")
    return text
