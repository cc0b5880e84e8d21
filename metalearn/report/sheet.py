"""A table of text, for a terminal, Markdown and LaTeX.

tabulate only joins cells: it escapes no signs of Markdown, and none of LaTeX beside bold cells.
"""

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rich.console import Group
from rich.markup import escape
from rich.table import Table

Tone = Literal["plain", "faint", "good", "bad", "better", "worse"]

STYLES = {"faint": "dim", "good": "bold", "bad": "red"}


class Text(NamedTuple):
    """Content of one place of a table."""

    text: str
    mark: str = ""  # mark of a footnote
    tone: Tone = "plain"


@dataclass(frozen=True)
class Sheet:
    """Table whose first columns are words and whose others are numbers."""

    title: str
    head: list[str]
    num_words: int
    rows: list[list[Text]]
    notes: list[Text] = field(default_factory=list)  # lines below the table, each after its mark


def terminal(sheet: Sheet) -> Group:
    if not sheet.rows:
        return Group(f"[italic]{escape(sheet.title)}[/]", *(escape(_noted(note)) for note in sheet.notes), "")
    table = Table(title=escape(sheet.title), title_justify="left")
    for i, name in enumerate(sheet.head):
        table.add_column(escape(name), overflow="fold", justify="left" if i < sheet.num_words else "right")
    for row in sheet.rows:
        table.add_row(*(_styled(f"{cell.text} [{cell.mark}]" if cell.mark else cell.text, cell.tone) for cell in row))
    return Group(table, *(escape(_noted(note)) for note in sheet.notes), "")


def markdown(sheet: Sheet) -> str:
    lines = [f"## {plain(sheet.title)}", ""]
    if sheet.rows:
        rule = ["---" if i < sheet.num_words else "---:" for i in range(len(sheet.head))]
        cells = [[_markdown_cell(cell) for cell in row] for row in sheet.rows]
        lines += [f"| {' | '.join(row)} |" for row in [[plain(name) for name in sheet.head], rule, *cells]] + [""]
    return "\n".join(lines + [f"- {plain(_noted(note))}" for note in sheet.notes]) + "\n"


def latex(sheet: Sheet) -> str:
    r"""Returns a table for \usepackage{booktabs,graphicx}, at most as wide as the text."""
    columns = "l" * sheet.num_words + "r" * (len(sheet.head) - sheet.num_words)
    rows = [" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in sheet.rows]
    head = " & ".join(_tex(name) for name in sheet.head) + r" \\"
    notes = [rf"\par {_tex(_noted(note))}" for note in sheet.notes]
    fitted = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    table = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule"]
    body = [fitted, *table, r"\end{tabular}}"] if sheet.rows else []
    caption = rf"\caption{{{_tex(sheet.title)}}}"
    return "\n".join([r"\begin{table}", r"\centering", caption, *body, r"\footnotesize", *notes, r"\end{table}", ""])


def _styled(text: str, tone: Tone) -> str:
    style = STYLES.get(tone)
    return f"[{style}]{escape(text)}[/{style}]" if style else escape(text)


def _noted(note: Text) -> str:
    return f"[{note.mark}] {note.text}" if note.mark else note.text


def _markdown_cell(cell: Text) -> str:
    text = f"**{plain(cell.text)}**" if cell.tone == "good" else plain(cell.text)
    return f"{text} <sup>{cell.mark}</sup>" if cell.mark else text


def plain(text: str) -> str:
    """Escapes the signs of Markdown."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def _latex_cell(cell: Text) -> str:
    text = rf"\textbf{{{_tex(cell.text)}}}" if cell.tone == "good" else _tex(cell.text)
    return rf"{text}\textsuperscript{{{cell.mark}}}" if cell.mark else text


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    special |= {"−": "$-$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"} | {
        c: f"\\{c}" for c in "&%$#_{}"
    }
    return "".join(special.get(character, character) for character in text)
