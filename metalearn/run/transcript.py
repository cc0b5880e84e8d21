"""A test episode of texts to read: what was shown, what was asked, and what was answered."""

from collections.abc import Sequence
from typing import NamedTuple

from metalearn.episodes.sampling import Draw

LONGEST = 200  # characters of a text that are shown


class Answer(NamedTuple):
    """A query, its class, and the class that was answered."""

    text: str
    name: str
    answer: str


def answered(texts: Sequence[str], draw: Draw, answers: Sequence[int], names: Sequence[str]) -> list[Answer]:
    """The queries of an episode in the order of their classes; `answers` are the ways of its Q queries."""
    rows, ways = draw.query_rows.tolist(), draw.query_ways.tolist()
    order = sorted(range(len(rows)), key=lambda query: ways[query])
    return [Answer(_shown(texts[rows[q]]), names[ways[q]], names[answers[q]]) for q in order]


def transcript(title: str, texts: Sequence[str], draw: Draw, rows: Sequence[Answer], names: Sequence[str]) -> str:
    """The episode as lines: of each class its name, its support texts, and its queries with what was answered."""
    lines = [title]
    for way, name in enumerate(names):
        shown = [
            row for row, of in zip(draw.support_rows.tolist(), draw.support_ways.tolist(), strict=True) if of == way
        ]
        lines += ["", name, *(f"  support  {_shown(texts[row])}" for row in shown)]
        for row in (row for row in rows if row.name == name):
            lines.append(f"  {'right  ' if row.answer == name else 'WRONG  '}  {row.text}" + _instead(row))
    return "\n".join(lines) + "\n"


def _instead(row: Answer) -> str:
    return "" if row.answer == row.name else f"  [answered {row.answer}]"


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
