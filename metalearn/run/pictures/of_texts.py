"""A transcript of a test episode of texts: its support texts, queries, and answers."""

from collections.abc import Sequence
from typing import NamedTuple

from metalearn.episodes.sampling import Draw
from metalearn.run.command.names import shortened

LONGEST = 200  # shown characters of a text


class Answer(NamedTuple):
    """A query, its class, and the predicted class."""

    text: str
    name: str
    answer: str


def answered(texts: Sequence[str], draw: Draw, answers: Sequence[int], names: Sequence[str]) -> list[Answer]:
    """Returns the queries of an episode in the order of their classes.

    Args:
        texts: all texts of the split.
        draw: rows and ways of the episode.
        answers: predicted ways, (Q,).
        names: class names in the order of the ways.
    """
    rows, ways = draw.query_rows.tolist(), draw.query_ways.tolist()
    order = sorted(range(len(rows)), key=lambda query: ways[query])
    return [Answer(_shown(texts[rows[q]]), names[ways[q]], names[answers[q]]) for q in order]


def transcript(title: str, texts: Sequence[str], draw: Draw, rows: Sequence[Answer], names: Sequence[str]) -> str:
    """Writes an episode as lines: each class with its support texts, queries and answers."""
    lines = [title]
    for way, name in enumerate(names):
        shown = draw.support_rows[draw.support_ways == way].tolist()
        lines += ["", name, *(f"  support  {_shown(texts[row])}" for row in shown)]
        for row in (row for row in rows if row.name == name):
            verdict, instead = ("right", "") if row.answer == name else ("WRONG", f"  [answered {row.answer}]")
            lines.append(f"  {verdict}    {row.text}{instead}")
    return "\n".join(lines) + "\n"


def _shown(text: str) -> str:
    return shortened(" ".join(text.split()), LONGEST)
