"""Texts as ids of tokens: words, characters, or the tokens of a pretrained model.

Ids depend only on the data and the config: 0 is padding, and the last id is a blank in a text.
"""

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from metalearn.data.text.vectors import read_words
from metalearn.formats import first_line, installing

WORD = re.compile(r"\w+(?=n't)|n't|'(?:s|re|ll|m|d|ve)\b|\w+|[^\w\s]")
"""Word, part of a contraction as in the Penn Treebank and GloVe, or one sign."""


BLANK = "\u2423"
"""Sign in a text that replaces a missing word."""


class Tokeniser(NamedTuple):
    """Tokeniser of texts."""

    encode: Callable[[str, int], list[int]]  # text, largest number of tokens -> ids above 0
    identity: str  # hash of all that the ids depend on
    recipe: dict[str, Any]  # plain facts, from which `rebuilt` makes it again


class Encoding:
    """Conversion of texts to ids.

    Args:
        kind: words in lower case, or characters.
        num_tokens: number of ids: padding, words, buckets, blank. A backbone embeds as many.
        buckets: number of ids that words outside the vocabulary share, by a hash.
        words: file of word vectors, whose words are the vocabulary: line i has the id i. None: the
            most frequent words of meta-train.
        tokenizer: name or folder of a pretrained model, whose tokens replace `kind`.

    Examples:
        >>> encoding = Encoding(kind="words", num_tokens=10, buckets=2, words=None, tokenizer=None)
        >>> encode = encoding.tokeniser(["my card is lost", "my card"]).encode
        >>> len(encode("my card is lost", 3))  # at most three ids
        3
    """

    def __init__(
        self,
        *,
        kind: Literal["words", "characters"],
        num_tokens: int,
        buckets: int,
        words: str | None,
        tokenizer: str | None,
    ) -> None:
        self.room = num_tokens - 2 - buckets  # number of words of a vocabulary
        if buckets < 1 or self.room < 1:
            raise ValueError(
                f"encoding: num_tokens={num_tokens} must be above buckets={buckets} + 2, and buckets above 0"
            )
        self.kind, self.num_tokens, self.buckets = kind, num_tokens, buckets
        self.words, self.tokenizer = words, tokenizer
        self.kept: Sequence[str] = ()  # vocabulary of a checkpoint, for a file of words that is absent

    def tokeniser(self, texts: Iterable[str]) -> Tokeniser:
        """Builds the tokeniser with the vocabulary of `texts` of meta-train. Raises ValueError."""
        if self.tokenizer is not None:
            return pretrained(self.tokenizer, self.num_tokens)
        if self.kind == "characters":
            return characters(self.num_tokens)
        if self.words is None:
            return words(most_frequent(texts, self.room), self.num_tokens, self.buckets)
        file = Path(self.words)
        vocabulary = self.kept if self.kept and not file.exists() else read_words(file)
        if len(vocabulary) > self.room:
            needed = len(vocabulary) + self.buckets + 2
            raise ValueError(f"{self.words} has {len(vocabulary):,} words: set dataset.encoding.num_tokens={needed}")
        return words(vocabulary, self.num_tokens, self.buckets)


def split_words(text: str) -> list[str]:
    """Splits a text into words and signs, in lower case.

    >>> split_words("I don't know Tom's.")
    ['i', 'do', "n't", 'know', 'tom', "'s", '.']
    """
    return WORD.findall(text.lower().replace("\u2019", "'"))  # typographic apostrophe, as of phones


def most_frequent(texts: Iterable[str], count: int) -> list[str]:
    """Returns the most frequent words; equally frequent ones are in alphabetical order."""
    counts = Counter(word for text in texts for word in split_words(text))
    return sorted(counts, key=lambda word: (-counts[word], word))[:count]


def words(vocabulary: Sequence[str], num_tokens: int, buckets: int) -> Tokeniser:
    """Builds a tokeniser of words.

    Word i of the vocabulary, counted from 1, has the id i. All others share the buckets before the
    last id.
    """
    id_of = {word: i for i, word in enumerate(vocabulary, start=1)}
    blank = num_tokens - 1

    def token(word: str) -> int:
        if word == BLANK:
            return blank
        return id_of.get(word) or blank - 1 - zlib.crc32(word.encode()) % buckets

    def encode(text: str, most: int) -> list[int]:
        return [token(word) for word in split_words(text)[:most]]

    recipe = {"kind": "words", "vocabulary": [*vocabulary], "num_tokens": num_tokens, "buckets": buckets}
    return Tokeniser(encode, _hash("words", num_tokens, buckets, *vocabulary), recipe)


def characters(num_tokens: int) -> Tokeniser:
    """Builds a tokeniser of characters.

    The id of a character is its code, from 1; codes beyond the last id start again at 1.
    """
    blank = num_tokens - 1

    def encode(text: str, most: int) -> list[int]:
        return [blank if letter == BLANK else 1 + ord(letter) % (blank - 1) for letter in text[:most]]

    return Tokeniser(encode, _hash("characters", num_tokens), {"kind": "characters", "num_tokens": num_tokens})


def pretrained(name: str, num_tokens: int) -> Tokeniser:
    """Builds the tokeniser of a pretrained model, by its name or folder.

    An id is that of the model, plus 1.
    """
    theirs = _load_tokenizer(name)
    if len(theirs) + 1 > num_tokens:
        raise ValueError(f"{name} has {len(theirs):,} tokens: set dataset.encoding.num_tokens={len(theirs) + 1}")

    mask = theirs.mask_token or theirs.unk_token or ""

    def encode(text: str, most: int) -> list[int]:
        text = text.replace(BLANK, mask)
        return [1 + token for token in theirs(text, truncation=True, max_length=most)["input_ids"]]

    recipe = {"kind": "pretrained", "name": name, "num_tokens": num_tokens}
    return Tokeniser(encode, _hash("pretrained", *sorted(theirs.get_vocab().items())), recipe)


def rebuilt(recipe: dict[str, Any]) -> Tokeniser:
    """Builds the tokeniser of a recipe. Raises ValueError if it is none."""
    match recipe:
        case {"kind": "words", "vocabulary": [*vocabulary], "num_tokens": int(count), "buckets": int(buckets)}:
            if all(isinstance(word, str) for word in vocabulary) and 0 < buckets < count - 1 - len(vocabulary):
                return words(vocabulary, count, buckets)
        case {"kind": "characters", "num_tokens": int(count)} if count > 2:
            return characters(count)
        case {"kind": "pretrained", "name": str(name), "num_tokens": int(count)}:
            return pretrained(name, count)
    raise ValueError(f"its recipe of the tokeniser is damaged: {recipe!r:.80}")


@cache
def _load_tokenizer(name: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ValueError(f"the tokens of {name} need transformers: {installing('pretrained')} ({error})") from error
    transformers.utils.logging.set_verbosity_error()
    try:
        return transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} has no tokenizer that transformers can read ({first_line(error)})") from error


def _hash(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
