"""Small texts of a few intents, like those of a user, and a file of word vectors."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np

from metalearn.data.bank import ClassBank
from metalearn.data.text.banks import text_banks
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.reading import Texts
from metalearn.data.text.tokens import Encoding
from metalearn.types import Split

VERBS = ("play", "stop", "book", "find", "open", "call", "send", "cook", "read", "sell")
THINGS = ("music", "a table", "the door", "my friend", "a letter", "rice", "the news")
TEXTS = {verb: [f"Please {verb} {thing}, don't wait" for thing in THINGS] for verb in VERBS}
"""Ten classes of seven texts."""


def encoding(**changes: object) -> Encoding:
    settings = {"kind": "words", "num_tokens": 60, "buckets": 5, "words": None, "tokenizer": None}
    return Encoding(**settings | changes)  # type: ignore[arg-type]


def banks(splits: dict[Split, Texts], length: int) -> dict[Split, ClassBank]:
    return text_banks("t", splits, TextPreparation.of_training(encoding(), splits, length))


def write_csv(path: Path) -> Path:
    with path.open("w", newline="") as file:
        rows = [(text, label) for label, texts in TEXTS.items() for text in texts]
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def write_json(path: Path, key: str = "text") -> Path:
    rows = [{key: text, "label": label} for label, texts in TEXTS.items() for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_vectors(path: Path, words: tuple[str, ...] = (*VERBS, "please"), width: int = 4) -> np.ndarray:
    """Writes word vectors in the format of GloVe, gzipped by the name of the file.

    Returns them, (words, width).
    """
    vectors = np.random.default_rng(0).normal(size=(len(words), width)).round(3).astype(np.float32)
    lines = [" ".join([word, *(f"{number:.3f}" for number in row)]) for word, row in zip(words, vectors, strict=True)]
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return vectors
