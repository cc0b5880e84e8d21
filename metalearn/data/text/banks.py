"""Texts of classes as banks of token ids."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from metalearn.data.bank import ClassBank
from metalearn.data.files.source import check_memory
from metalearn.data.text.reading import Texts
from metalearn.data.text.tokens import Encoding, Tokeniser
from metalearn.types import Split

log = logging.getLogger(__name__)


def text_shape(source: str, asked: Sequence[int]) -> tuple[int]:
    """Checks `input_shape`, the largest number of tokens of a text. Raises ValueError."""
    if len(asked) != 1 or asked[0] < 1:
        raise ValueError(f"{source}: input_shape is {list(asked)}; it must be [tokens of a text]")
    return (asked[0],)


def text_banks(source: str, splits: Mapping[Split, Texts], encoding: Encoding, length: int) -> dict[Split, ClassBank]:
    """Builds a bank for each split, with the vocabulary of meta-train.

    Texts are cut after `length` tokens.
    """
    tokeniser = encoding.tokeniser(text for texts in splits.get("train", {}).values() for text in texts)
    check_memory(source, sum(4 * length * len(texts) for of_split in splits.values() for texts in of_split.values()))
    tell_shared_texts(source, splits)
    return {split: _bank(source, split, texts, tokeniser, length) for split, texts in splits.items()}


def _bank(source: str, split: Split, texts: Texts, tokeniser: Tokeniser, length: int) -> ClassBank:
    names = sorted(texts)
    flat = tuple(text for name in names for text in texts[name])
    lines = [tokeniser.encode(text, length + 1) for text in flat]
    if (longer := sum(len(line) > length for line in lines)) > 0:
        log.info("%s: %d of %d texts of %s are cut after %d tokens", source, longer, len(lines), split, length)
    ids = torch.zeros(len(flat), length, dtype=torch.int32)  # (M, L)
    for row, line in enumerate(lines):
        if not line:
            raise ValueError(f"{source}: the text {flat[row]!r:.80} has no tokens")
        kept = line if len(line) <= length else tokeniser.encode(flat[row], length)
        ids[row, : len(kept)] = torch.tensor(kept)
    ends = np.cumsum([len(texts[name]) for name in names])
    rows = tuple(np.split(np.arange(len(flat)), ends[:-1]))
    return ClassBank(ids, rows, tuple(names), texts=flat, vocabulary=tokeniser.identity)


def tell_shared_texts(source: str, splits: Mapping[Split, Texts]) -> None:
    """Warns of texts that are in two splits.

    Training then sees a text of the test, with another label.
    """
    seen: dict[str, Split] = {}
    shared = set()
    for split, texts in splits.items():
        for text in (text for of_class in texts.values() for text in of_class):
            if seen.setdefault(text, split) != split:
                shared.add(text)
    if shared:
        log.warning("%s: %d texts are in two splits, such as %.80r", source, len(shared), min(shared))
