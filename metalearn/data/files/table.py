"""CSV files of a user: a header, then lines of equally many fields; errors name the line."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from metalearn.data.files.regular import read_regular

LARGEST = 1 << 30  # limit of a file in bytes


class BadLine(ValueError):
    """Error in a line, given by its number."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"line {number}: {what}")


def read_lines(path: Path, *headers: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields number and fields of each line after the header, which is one of `headers`.

    Raises as `with_header` does, and ValueError for another header.
    """
    lines = with_header(path)
    _, first = next(lines)
    if first not in headers:
        raise ValueError(f"its first line is '{','.join(first)[:80]}'")
    yield from lines


def with_header(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields number and fields of the header, then of each line after it; skips empty lines.

    Raises BadLine for a line of another length than the header, ValueError for a very large file.
    """
    content = read_regular(path, LARGEST)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadLine(content.count(b"\n", 0, error.start) + 1, "its text is not UTF-8") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, [])
        yield lines.line_num, header
        for fields in lines:
            if fields and len(fields) != len(header):
                advice = '; a name that holds a comma stands in quotes: "..."' if len(fields) > len(header) else ""
                raise BadLine(lines.line_num, f"it has {len(fields)} fields, not {len(header)}{advice}")
            if fields:
                yield lines.line_num, fields
    except csv.Error as error:
        limit = csv.field_size_limit()
        too_long = f"a field has more than {limit:,} characters; shorten it, or close its quotes if they are open"
        raise BadLine(lines.line_num, too_long if "field limit" in str(error) else str(error)) from error
