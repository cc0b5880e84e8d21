"""One call of the command: learn the examples, sort the queries, show the results."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metalearn.learner import Learner
from metalearn.predict import page
from metalearn.predict.files import Reader, examples, to_be_sorted
from metalearn.predict.outputs import NONE, Answer, sort_into, write_csv

MOST_ROWS = 40  # limit of the table on the screen
MOST_NAMES = 20  # limit of unreadable files on the screen


def predict(given: argparse.Namespace) -> int:
    """Runs the command and returns the exit code.

    Raises ValueError or OSError, in one line.
    """
    learner = Learner.load(given.run, reject=given.reject)
    reader = Reader(learner.trained.preparation)
    support = _learn(learner, reader, given.support)
    paths: list[Path] = []
    probabilities = learner.predict_proba(reader.opened(to_be_sorted(given.query), "sorting", paths))
    rows = zip(paths, learner.choose(probabilities), probabilities.max(1, initial=0.0), strict=True)
    answers = [Answer(path, None if label is None else str(label), float(p)) for path, label, p in rows]
    _report_unreadable(reader.unreadable)
    if not answers:
        raise ValueError("none of the files to be sorted is an image")
    if given.csv:
        write_csv(given.csv, answers)
    if given.sort_into:
        sort_into(given.sort_into, answers)
    if given.html:
        page.write(given.html, page.Sorted(learner, reader, support, answers))
    _show(answers, [path for path in (given.csv, given.html, given.sort_into) if path], len(reader.unreadable))
    return 0


def _learn(learner: Learner, reader: Reader, support: Path | None) -> list[Path]:
    """Fits the learner to the examples and returns their files.

    A learner saved with its classes has none.
    """
    if support is None:
        if not learner.__sklearn_is_fitted__():
            raise ValueError("--support is missing: a folder of examples for each class, or a CSV file of path,label")
        return []
    label_of, read = examples(support), list[Path]()
    images = list(reader.opened(label_of, "looking at the examples", read))
    if lost := sorted(set(label_of.values()) - {label_of[path] for path in read}):
        raise ValueError(f"the class {lost[0]} of {support} has no readable image")
    learner.fit(images, [label_of[path] for path in read])
    return read


def _report_unreadable(unreadable: dict[Path, str]) -> None:
    for path, why in list(unreadable.items())[:MOST_NAMES]:
        print(f"metalearn.predict: left out {path}: {why}", file=sys.stderr)
    if (more := len(unreadable) - MOST_NAMES) > 0:
        print(f"metalearn.predict: left out {more} more", file=sys.stderr)


def _show(answers: list[Answer], written: list[Path], num_unreadable: int) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=140)
    table = Table("image", "class", "probability")
    for path, label, probability in answers[:MOST_ROWS]:
        shown = escape(label) if label is not None else f"[dim]{NONE}[/dim]"
        table.add_row(escape(str(path)), shown, f"{100 * probability:.1f} %")
    console.print(table, highlight=False)
    if (more := len(answers) - MOST_ROWS) > 0:
        console.print(f"and {more:,} more" + ("" if written else "; --csv FILE lists all"), highlight=False)
    counts = Counter(NONE if answer.label is None else answer.label for answer in answers)
    found = ", ".join(f"{count:,} {name}" for name, count in counts.most_common(10)) + " ..." * (len(counts) > 10)
    left_out = f"; {num_unreadable:,} unreadable left out" if num_unreadable else ""
    console.print(f"{len(answers):,} images: {escape(found)}{left_out}", highlight=False, soft_wrap=True)
    for path in written:
        console.print(f"written: {escape(str(path))}", highlight=False, soft_wrap=True)
