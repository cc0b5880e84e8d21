"""Texts of classes as banks of token ids."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain

import torch

from metalearn.data.bank import ClassBank, consecutive_rows
from metalearn.data.files.source import check_memory
from metalearn.data.manifest import Division, complete
from metalearn.data.overlap import may_be_learnt
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.reading import Texts
from metalearn.data.text.tokens import Encoding
from metalearn.types import Split

log = logging.getLogger(__name__)


def text_shape(source: str, asked: Sequence[int]) -> tuple[int]:
    """Checks `input_shape`, the largest number of tokens of a text. Raises ValueError."""
    if len(asked) != 1 or asked[0] < 1:
        raise ValueError(f"{source}: input_shape is {list(asked)}; it must be [tokens of a text]")
    return (asked[0],)


def divided(
    texts: Texts, division: Division, encoding: Encoding, input_shape: tuple[int]
) -> tuple[TextPreparation, dict[Split, ClassBank]]:
    """Divides classes of texts into splits, and keeps the division once their banks are built."""
    classes = complete(division.classes(texts), division.root)
    splits = {split: {name: texts[name] for name in names} for split, names in classes.items()}
    preparation = TextPreparation.of_training(encoding, splits, *input_shape)
    banks = text_banks(division.source, splits, preparation)
    division.keep(classes)
    return preparation, banks


def text_banks(source: str, splits: Mapping[Split, Texts], preparation: TextPreparation) -> dict[Split, ClassBank]:
    """Builds a bank for each split, of texts as they are prepared."""
    num_texts = sum(len(texts) for of_split in splits.values() for texts in of_split.values())
    check_memory(4 * preparation.length * num_texts)
    warn_of_equal_texts(source, splits)
    return {split: _bank(source, split, texts, preparation) for split, texts in splits.items()}


def _bank(source: str, split: Split, texts: Texts, preparation: TextPreparation) -> ClassBank:
    names = sorted(texts)
    flat = tuple(text for name in names for text in texts[name])
    ids = torch.zeros(len(flat), preparation.length, dtype=torch.int32)  # (M, L)
    longer = 0
    for row, text in enumerate(flat):
        ids[row], is_longer = preparation.with_length(text)
        longer += is_longer
    if longer > 0:
        log.info("%s: %d of %d texts of %s are cut to %d tokens", source, longer, len(flat), split, preparation.length)
    rows = consecutive_rows([len(texts[name]) for name in names])
    return ClassBank(ids, rows, tuple(names), texts=flat, vocabulary=preparation.tokeniser.identity)


def warn_of_equal_texts(source: str, splits: Mapping[Split, Texts]) -> None:
    """Warns of texts that are in two splits, or twice in one of which episodes are scored."""
    found = defaultdict[str, list[Split]](list)
    for split, texts in splits.items():
        for text in chain(*texts.values()):
            found[text].append(split)
    if twice := [text for text, copies in found.items() if may_be_learnt(copies)]:
        counted = "1 text is" if len(twice) == 1 else f"{len(twice)} texts are"
        line = "%s: %s there more than once, so a query may be one that was learnt, such as %.80r"
        log.warning(line, source, counted, min(twice))
