"""Word vectors in the text format of GloVe, plain or gzipped.

A line is a word and its numbers. Jeffrey Pennington, Richard Socher, Christopher D. Manning. GloVe:
Global Vectors for Word Representation. EMNLP 2014.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metalearn.data.files.regular import open_regular
from metalearn.data.files.table import BadLine

LONGEST = 1 << 16  # limit of a line in bytes: 300 numbers take 3,000


def read_words(path: Path) -> list[str]:
    """Reads the words of a file of vectors, in its order. Raises ValueError or OSError."""
    return [word for word, _ in _lines(path)]


def read_vectors(path: Path) -> np.ndarray:
    """Reads the vectors of these words, (words, D) float32.

    Raises ValueError or OSError in one line.
    """
    rows = []
    for number, (_, numbers) in enumerate(_lines(path), start=1):
        try:
            row = np.array(numbers, np.float32)
        except ValueError as error:
            raise _refusal(path, BadLine(number, f"not all of its {len(numbers)} numbers are numbers")) from error
        if not np.isfinite(row).all():
            raise _refusal(path, BadLine(number, "not all of its numbers are finite"))
        rows.append(row)
    return np.stack(rows)


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields the word and the numbers, still as text, of each line."""
    seen: dict[str, int] = {}
    width = 0
    try:
        with open_regular(path) as packed, gzip.open(packed) if path.suffix == ".gz" else packed as file:
            while line := file.readline(LONGEST):
                number = len(seen) + 1
                word, *numbers = _fields(line, number)
                width = width or len(numbers)
                if number == 1 and width < 2:
                    raise BadLine(1, "a word and its numbers are needed; delete the header that word2vec writes")
                if len(numbers) != width:
                    remedy = "; delete it, if its word holds blanks" if len(numbers) > width else ""
                    raise BadLine(number, f"it has {len(numbers)} numbers, and the first line {width}{remedy}")
                if word in seen:
                    raise BadLine(number, f"the word {word!r:.80} is that of line {seen[word]} too")
                seen[word] = number
                yield word, numbers
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _refusal(path, error) from error
    if not seen:
        raise _refusal(path, "it is empty")


def _fields(line: bytes, number: int) -> list[str]:
    if not line.endswith(b"\n") and len(line) == LONGEST:
        raise BadLine(number, f"it is longer than {LONGEST:,} bytes")
    try:
        return line.decode().rstrip().split(" ")
    except UnicodeDecodeError as error:
        raise BadLine(number, "its text is not UTF-8") from error


def _refusal(path: Path, why: object) -> ValueError:
    return ValueError(f"{path} is not a file of word vectors in GloVe's format ({why})")
