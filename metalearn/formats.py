"""How numbers, settings and errors are written, on a screen, in a report and in messages."""

import csv
import math
import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from metalearn.estimates import Estimate

SEEN_IN_WORDS = {
    "all": "which holds all test classes",
    "some": "which holds some of the test classes",
    "none": "which holds none of the test classes",
    "unknown": "which may hold test classes",
}


def interval(measured: tuple[str, Estimate]) -> str:
    """Formats mean ± 95 % interval, an accuracy in percent; NaN is a question mark."""
    name, estimate = measured
    if name == "accuracy":
        return f"{percent(estimate.mean)} ± {percent(estimate.ci95)} %"
    return f"{score(name, estimate.mean)} ± {score(name, estimate.ci95)}"


def score(name: str, value: float | None) -> str:
    """Formats an accuracy in percent, and another score with four digits."""
    if name == "accuracy":
        return f"{percent(value)} %"
    return "?" if value is None or math.isnan(value) else f"{value:.4g}"


def percent(fraction: float | None) -> str:
    return "?" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.2f}"


def rate(per_second: float) -> str:
    """Formats a number per second; a slow one keeps two digits, and NaN is a dash.

    >>> rate(123.45), rate(0.0421)
    ('123.5', '0.042')
    """
    return "-" if math.isnan(per_second) else f"{per_second:.1f}" if per_second >= 1 else f"{per_second:.2g}"


def span(value: int | list[int]) -> str:
    """Formats a number, or a range [smallest, largest].

    >>> span([5, 20])
    '5 to 20'
    """
    return str(value) if isinstance(value, int) else f"{value[0]} to {value[1]}"


def number_of(number: int, noun: str) -> str:
    """Formats a number of things whose plural ends with s.

    >>> number_of(1, "episode"), number_of(600, "episode")
    ('1 episode', '600 episodes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def queries(number: int) -> str:
    """Formats a number of queries.

    >>> queries(1), queries(15)
    ('1 query', '15 queries')
    """
    return "1 query" if number == 1 else f"{number} queries"


def points(shot: int | list[int], query: int) -> str:
    """Describes the episodes of a regression.

    >>> points([5, 10], 10), points(1, 1)
    ('5 to 10 support points, 10 query points', '1 support point, 1 query point')
    """
    return f"{span(shot)} support point{'' if shot == 1 else 's'}, {number_of(query, 'query point')}"


def pretraining(data: str, seen: str | None) -> str:
    """Describes the data of a pretraining, and how many test classes they hold."""
    return f"{data}, {SEEN_IN_WORDS[seen or 'unknown']}"


def named_fields(name: str) -> dict[str, Any] | None:
    """Parses the name of a setting, such as 5w1s or 5w1s-unequal; None for another form.

    >>> named_fields("5w1s-unequal")
    {'way': 5, 'shot': 1, 'shots': 'equal', 'queries': 'unequal'}
    >>> named_fields("5-way") is None
    True
    """
    if (match := re.fullmatch(r"(\d+)w(\d+)s(-unequal)?", name)) is None:
        return None
    queries = "unequal" if match[3] else "equal"
    return {"way": int(match[1]), "shot": int(match[2]), "shots": "equal", "queries": queries}


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Formats rows as CSV; None is an empty field.

    >>> csv_text([("split", "class"), ("val", None)])
    'split,class\\nval,\\n'
    """
    lines = list[str]()
    # Python 3.11 puts a field with a carriage return into quotes only if its lines end with one.
    csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n").writerows(rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def installing(extra: str) -> str:
    """Returns the command that installs an extra of the package, for an error."""
    return f"pip install -e '.[{extra}]' in the checkout"


def one_line(error: BaseException) -> str:
    """Returns the message of an error as one line, or its kind if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException, length: int = 200) -> str:
    """Returns the first line of a library's message, cut to `length`; its kind if it has none."""
    return str(error).strip().partition("\n")[0][:length] or type(error).__name__
