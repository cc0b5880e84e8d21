"""Files of texts and their labels: CSV with the header text,label, or JSON objects in lines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metalearn.data.files.names import check_one_spelling, class_name, is_utf8, some
from metalearn.data.files.regular import open_regular, read_regular
from metalearn.data.files.table import LARGEST, BadLine, read_lines

LONGEST = 100_000  # limit of a text in characters: about forty pages
HEADER = ["text", "label"]

Texts = dict[str, list[str]]
"""Texts of each class, in the order of the file."""


def read_texts(path: Path, *, key: str = "text", fewest: int = 2) -> Texts:
    """Reads the texts of each class of a file, JSONL by its suffix and else CSV.

    `key` is the key of a text in JSONL; `fewest` is the smallest possible number of texts of a
    class, as many as a task needs. Raises ValueError or OSError in one line that names the
    file, and the line in it.
    """
    is_json = path.suffix.lower() == ".jsonl"
    texts: Texts = {}
    spellings = set()
    try:
        for number, (text, label) in _json_lines(path, key) if is_json else read_lines(path, HEADER):
            spellings.add(label)
            texts.setdefault(class_name(label), []).append(_checked(number, text, class_name(label)))
    except ValueError as error:
        form = f'JSON lines of {{"{key}": ..., "label": ...}}' if is_json else "CSV with the header text,label"
        raise ValueError(f"{path} is not {form} ({error})") from error
    check_one_spelling(spellings)
    if not texts:
        raise ValueError(f"{path} has no texts")
    if alone := [name for name, of_class in texts.items() if len(of_class) < fewest]:
        raise ValueError(f"{path} has {len(alone)} classes with a single text, but needs two of each: {some(alone)}")
    return texts


def read_unlabelled(path: Path) -> list[str]:
    """Reads texts whose class is to be found, in the order of the file.

    JSONL has them at the key text, CSV in the column text, alone or before label; any other file
    has a text in each line. Raises ValueError or OSError in one line.
    """
    try:
        match path.suffix.lower():
            case ".jsonl":
                lines = [(number, record.get("text")) for number, record in _records(path)]
            case ".csv":
                lines = [(number, fields[0]) for number, fields in read_lines(path, HEADER[:1], HEADER)]
            case _:
                lines = [(number, line) for number, line in _plain_lines(path) if line.strip()]
        return [_checked(number, text) for number, text in lines]
    except ValueError as error:
        raise ValueError(f"{path} does not hold texts ({error})") from error


def _checked(number: int, text: object, label: str = "any") -> str:
    if not isinstance(text, str):
        raise BadLine(number, "it has no text at text")
    if not text.strip():
        raise BadLine(number, "its text is empty")
    if not label:
        raise BadLine(number, "its label is empty")
    if "\0" in text or "\0" in label:
        raise BadLine(number, "it holds the character NUL")
    if not is_utf8(text + label):
        raise BadLine(number, "it holds half of a character (a surrogate)")
    if len(text) > LONGEST:
        raise BadLine(number, f"its text has {len(text):,} characters, more than {LONGEST:,}")
    return text


def _plain_lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_regular(path, LARGEST).splitlines(), start=1):
        try:
            yield number, line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadLine(number, "its text is not UTF-8") from error


def _json_lines(path: Path, key: str) -> Iterator[tuple[int, list[str]]]:
    for number, record in _records(path):
        if isinstance(record.get("label"), int | float):
            raise BadLine(number, "its label is a number; write it in quotes")
        if not all(isinstance(record.get(name), str) for name in (key, "label")):
            raise BadLine(number, f"it has no texts at {key} and label")
        yield number, [record[key], record["label"]]


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_regular(path) as file:
        number = 0
        while line := file.readline(8 * LONGEST):
            number += 1
            if not line.endswith(b"\n") and len(line) == 8 * LONGEST:
                raise BadLine(number, f"it is longer than {8 * LONGEST:,} bytes")
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                raise BadLine(number, "its text is not UTF-8") from error
            except (ValueError, RecursionError) as error:
                raise BadLine(number, "it is not JSON") from error
            if not isinstance(record, dict):
                raise BadLine(number, "it is not an object")
            yield number, record
