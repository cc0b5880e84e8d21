"""Preparation of a text for a network, equal for the texts of a data set and for new ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from metalearn.data.text.reading import Texts
from metalearn.data.text.tokens import BLANK, Encoding, Tokeniser, rebuilt
from metalearn.types import Split


@dataclass(frozen=True, eq=False)
class TextPreparation:
    """Conversion of a text to a row of a bank: the ids of its tokens, then 0.

    Args:
        length: number L of tokens, after which a text is cut; one with a blank is cut around it.
        recipe: recipe of the tokeniser.
    """

    length: int
    recipe: dict[str, Any]

    @classmethod
    def of_training(cls, encoding: Encoding, splits: Mapping[Split, Texts], length: int) -> Self:
        """Prepares with the vocabulary of meta-train."""
        texts = (text for of_class in splits.get("train", {}).values() for text in of_class)
        return cls(length, encoding.tokeniser(texts).recipe)

    @cached_property
    def tokeniser(self) -> Tokeniser:
        return rebuilt(self.recipe)

    def __getstate__(self) -> dict[str, Any]:
        return {"length": self.length, "recipe": self.recipe}  # a tokeniser is a function

    def of_text(self, text: str) -> Tensor:
        """Returns the ids of a text, (L,) int32."""
        return self.with_length(text)[0]

    def with_length(self, text: str) -> tuple[Tensor, bool]:
        """Returns the ids of a text, (L,) int32, and whether it was cut.

        Raises ValueError if it has no tokens.
        """
        ids = self.tokeniser.encode(text, self.length + 1)
        if is_longer := len(ids) > self.length:
            around = self._around_blank(text)
            ids = self.tokeniser.encode(around, self.length)  # a last sign of a pretrained model stays
        if not ids:
            raise ValueError(f"the text {text!r:.80} has no tokens")
        row = torch.zeros(self.length, dtype=torch.int32)
        row[: len(ids)] = torch.tensor(ids)
        return row, is_longer

    def _around_blank(self, text: str) -> str:
        """Leaves out the first words before a blank, until L/2 tokens behind it have room."""
        before, blank, after = text.partition(BLANK)
        behind = min(len(self.tokeniser.encode(after, self.length)), self.length // 2)
        while blank and before and len(self.tokeniser.encode(before, self.length)) + behind >= self.length:
            before = before.partition(" ")[2]
        return before + blank + after
