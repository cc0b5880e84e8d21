"""One call of the command: learn the examples, sort the queries, show the results."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metalearn.data.text.preparation import TextPreparation
from metalearn.learner import Learner
from metalearn.predict import page
from metalearn.predict.files import Item
from metalearn.predict.images import ImageReader
from metalearn.predict.outputs import NONE, Answer, sort_into, write_csv
from metalearn.predict.reader import AbstractReader
from metalearn.predict.texts import TextReader

MOST_ROWS = 40  # limit of the table on the screen
LONGEST_ROW = 500  # limit of a text there in characters
MOST_NAMES = 20  # limit of unreadable files on the screen


def predict(given: argparse.Namespace) -> None:
    """Runs the command. Raises ValueError or OSError, in one line."""
    learner = Learner.load(given.run, reject=given.reject)
    reader = reader_of(learner)
    if given.sort_into and reader.kind != "image":
        raise ValueError("--sort-into copies images, but the run was trained on texts: use --csv FILE")
    support = learn(learner, reader, given.support)
    queries = reader.queries(given.query)
    probabilities = learner.predict_proba(reader.opened(queries, "sorting"))
    rows = zip(reader.readable(queries), learner.choose(probabilities), probabilities.max(1, initial=0.0), strict=True)
    answers = [Answer(item, None if label is None else str(label), float(p)) for item, label, p in rows]
    _report_unreadable(reader.unreadable, most=MOST_NAMES if answers else None, page=given.html)
    if not answers:
        raise ValueError(f"none of the files to be sorted {'is an image' if reader.kind == 'image' else 'has a text'}")
    if given.csv:
        write_csv(given.csv, reader.column, answers)
    if given.sort_into:
        sort_into(given.sort_into, answers)
    if given.html:
        page.write(given.html, page.Sorted(learner, reader, support, answers))
    _show(reader, answers, [path for path in (given.csv, given.html, given.sort_into) if path])


def reader_of(learner: Learner) -> AbstractReader:
    """Returns the reader of a learner's inputs."""
    preparation = learner.trained.preparation
    return TextReader(preparation) if isinstance(preparation, TextPreparation) else ImageReader(preparation)


def learn(learner: Learner, reader: AbstractReader, support: Path | None) -> list[Item]:
    """Fits the learner to the examples and returns them.

    A learner saved with its classes has none.
    """
    if support is None:
        if not learner.__sklearn_is_fitted__():
            listed = f"a CSV file of {reader.column},label"
            raise ValueError(f"--support is missing: a folder of examples for each class, or {listed}")
        return []
    examples = reader.examples(support)
    # The unreadable ones are known before the network starts; photographs would take memory.
    opened = reader.opened([item for item, _ in examples], "looking at the examples")
    inputs = [reader.shrunk(given) for given in opened]
    readable = [(item, name) for item, name in examples if item not in reader.unreadable]
    items, labels = [item for item, _ in readable], [name for _, name in readable]
    if lost := sorted({name for _, name in examples} - {*labels}):
        raise ValueError(f"the class {lost[0]} of {support} has no readable {reader.kind}")
    if len({*labels}) == 1:
        raise ValueError(f"{support} has one class, so each {reader.kind} would be of it: give examples of others too")
    learner.fit(inputs, labels)
    return items


def _report_unreadable(unreadable: dict[Item, str], *, most: int | None, page: Path | None) -> None:
    for path, why in list(unreadable.items())[:most]:
        print(f"metalearn.predict: left out {path}: {why}", file=sys.stderr)
    if most is not None and (more := len(unreadable) - most) > 0:
        where = f"{page} lists all" if page else "--html FILE lists all"
        print(f"metalearn.predict: left out {more} more; {where}", file=sys.stderr)


def _show(reader: AbstractReader, answers: list[Answer], written: list[Path]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140, emoji=False)
    table = Table(reader.kind, "class", "probability")
    for item, label, probability in answers[:MOST_ROWS]:
        shown = escape(label) if label is not None else f"[dim]{NONE}[/dim]"
        table.add_row(escape(str(item)[:LONGEST_ROW]), shown, f"{100 * probability:.1f} %")
    console.print(table, highlight=False)
    if (more := len(answers) - MOST_ROWS) > 0:
        console.print(f"and {more:,} more" + ("" if written else "; --csv FILE lists all"), highlight=False)
    counts = Counter(NONE if answer.label is None else answer.label for answer in answers)
    others = " ..." if len(counts) > 10 else ""
    found = ", ".join(f"{count:,} {name}" for name, count in counts.most_common(10)) + others
    left_out = f"; {len(reader.unreadable):,} unreadable left out" if reader.unreadable else ""
    plural = "" if len(answers) == 1 else "s"
    console.print(f"{len(answers):,} {reader.kind}{plural}: {escape(found)}{left_out}", highlight=False, soft_wrap=True)
    for path in written:
        console.print(f"written: {escape(str(path))}", highlight=False, soft_wrap=True)
