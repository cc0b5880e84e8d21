"""Your own texts with their labels, as few-shot tasks: intents, topics, sentiments."""

from pathlib import Path

from metalearn.data.bank import ClassBank
from metalearn.data.files.source import named
from metalearn.data.manifest import Division
from metalearn.data.text.banks import divided, text_shape
from metalearn.data.text.reading import read_texts
from metalearn.data.text.tokens import Encoding
from metalearn.types import Split

ADVICE = "dataset.root=FILE is a CSV file with the header text,label, or FILE.jsonl of objects with text and label"


class LabelledTexts:
    """Texts of a file as a Source, whose classes are divided like those of a folder of images.

    Args:
        root: CSV file with the header text,label, or JSONL file of objects with text and label.
        manifest: file that lists the split of each class; an absent one is drawn and written.
        split: fractions of the classes for meta-train, meta-val and meta-test.
        split_seed: seed of the draw.
        input_shape: largest number of tokens of a text, which is cut after them.
        encoding: conversion of texts to ids.

    Examples:
        >>> encoding = Encoding(kind="words", num_tokens=100, buckets=9, words=None, tokenizer=None)
        >>> source = LabelledTexts(
        ...     "texts.csv", manifest="classes.csv", split=[0.64, 0.16, 0.2], split_seed=0,
        ...     input_shape=[32], encoding=encoding,
        ... )
        >>> source.input_shape
        (32,)
        >>> source.load()["train"].images.shape  # ids of the tokens, (M, L)  # doctest: +SKIP
        torch.Size([640, 32])
    """

    def __init__(
        self,
        root: str,
        *,
        manifest: str,
        split: list[float],
        split_seed: int,
        input_shape: list[int],
        encoding: Encoding,
    ) -> None:
        self.root, self.encoding = Path(root), encoding
        self.input_shape = text_shape("text", input_shape)
        self.division = Division("text", self.root, Path(manifest), split, split_seed)

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the splits; only that of meta-test if all classes belong to it.

        Raises ValueError or OSError in one line: what is missing or wrong, and in which line of the
        file.
        """
        with named("text"):
            if not self.root.exists():
                raise FileNotFoundError(f"{self.root.absolute()} is absent; {ADVICE}")
            texts = read_texts(self.root)
            self.preparation, banks = divided(texts, self.division, self.encoding, self.input_shape)
            return banks
