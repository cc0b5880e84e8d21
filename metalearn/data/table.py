"""Rows of a table of numbers, with a label in one column, as few-shot tasks.

A column becomes the rank of its values among those of meta-train, in 256 levels from 0 to 255 (the
quantile transformation of scikit-learn). Units, outliers and monotone functions of a column
therefore do not matter, and a row is an image of one line.

M  rows    F  columns of numbers
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from metalearn.data.bank import ClassBank, consecutive_rows
from metalearn.data.files.names import check_one_spelling, class_name, some
from metalearn.data.files.source import named
from metalearn.data.files.table import BadLine, with_header
from metalearn.data.manifest import Division
from metalearn.data.overlap import in_two_splits
from metalearn.types import SPLITS, Split

log = logging.getLogger(__name__)

ADVICE = "dataset.root=FILE is a CSV file with a header, a column `label`, and columns of numbers"


class Table:
    """Rows of a CSV file as a Source, whose classes are divided like those of a folder of images.

    Args:
        root: CSV file with a header.
        label: column of the classes; all other columns are numbers.
        manifest: CSV file that assigns classes to splits; an absent one is drawn and written.
        split: fractions of the classes for train, val and test, where the manifest is drawn.
        split_seed: seed of that draw.
        input_shape: [1, 1, F].

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> lines = [f"kind {number % 5},{number**2},{-number}" for number in range(20)]
        >>> _ = (folder / "table.csv").write_text("\\n".join(["label,width,height", *lines]))
        >>> source = Table(
        ...     str(folder / "table.csv"), label="label", manifest=str(folder / "classes.csv"),
        ...     split=[0.6, 0.2, 0.2], split_seed=0, input_shape=[1, 1, 2],
        ... )
        >>> source.load()["train"].images.shape  # (M, 1, 1, F)
        torch.Size([12, 1, 1, 2])
    """

    def __init__(
        self, root: str, *, label: str, manifest: str, split: list[float], split_seed: int, input_shape: list[int]
    ) -> None:
        if len(input_shape) != 3 or list(input_shape[:2]) != [1, 1] or input_shape[2] < 1:
            raise ValueError(f"table: input_shape is {input_shape}; it must be [1, 1, number of columns]")
        self.root, self.label, self.input_shape = Path(root), label, (1, 1, input_shape[2])
        self.division = Division("table", self.root, Path(manifest), split, split_seed)

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the splits.

        Raises ValueError or OSError in one line: what is missing or wrong, and in which line of the
        file.
        """
        with named("table"):
            if not self.root.exists():
                raise FileNotFoundError(f"{self.root.absolute()} is absent; {ADVICE}")
            columns, rows_of = read_table(self.root, self.label)
            count = len(columns)
            if count != self.input_shape[2]:
                raise ValueError(f"{self.root} has {count} columns of numbers: type dataset.input_shape=[1,1,{count}]")
            classes = self.division.classes(rows_of)
            if missing := " and ".join(split for split in SPLITS if not classes[split]):
                raise ValueError(f"no classes are for {missing}: all three splits are needed")
            arrays = {split: [np.array(rows_of[name]) for name in names] for split, names in classes.items()}
            warn_of_shared_rows(arrays)
            reference = np.sort(np.concatenate(arrays["train"]), axis=0)  # (M, F)
            banks = {split: bank(arrays[split], classes[split], reference, columns) for split in SPLITS}
            self.division.keep(classes)
            return banks


def warn_of_shared_rows(rows_of: Mapping[Split, Sequence[np.ndarray]]) -> None:
    """Warns of rows (F,) of equal numbers that are in two splits.

    This is no error, because few columns of few values have such rows by chance.
    """
    flat = {split: (row.tobytes() for rows in classes for row in rows) for split, classes in rows_of.items()}
    if shared := in_two_splits(flat):
        log.warning("table: %d rows of equal numbers are in two splits", len(shared))


def bank(
    rows_of: Sequence[np.ndarray], names: Sequence[str], reference: np.ndarray, columns: Sequence[str]
) -> ClassBank:
    """Builds the bank of classes with these rows (n, F), ranked among sorted columns (M, F)."""
    levels = torch.from_numpy(ranks(np.concatenate(rows_of), reference))  # (M, F)
    own = consecutive_rows([*map(len, rows_of)])
    return ClassBank(levels[:, None, None], own, tuple(names), columns=tuple(columns))


def ranks(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Ranks each column of values (M, F) among the sorted reference, from 0 to 255, as uint8.

    Equal values share the middle of their ranks.

    >>> ranks(np.array([[-9.0], [1.0], [2.0], [9.0]]), np.array([[1.0], [2.0], [3.0]]))[:, 0]
    array([  0,  42, 128, 255], dtype=uint8)
    """
    columns = [
        (np.searchsorted(sorted_, column, "left") + np.searchsorted(sorted_, column, "right")) / (2 * len(sorted_))
        for column, sorted_ in zip(values.T, reference.T, strict=True)
    ]
    return np.rint(255 * np.stack(columns, 1)).astype(np.uint8)


def read_table(path: Path, label: str) -> tuple[list[str], dict[str, list[list[float]]]]:
    """Reads the names of the columns of numbers, and the rows of each class, as the file has them.

    Raises ValueError that names the file, and the line in it.
    """
    rows_of: dict[str, list[list[float]]] = {}
    rows: list[list[float]] = []  # in the order of the file, as are the names of their classes
    names: list[str] = []
    spellings = set()
    try:
        lines = with_header(path)
        _, header = next(lines)
        if header.count(label) != 1 or len(header) < 2:
            raise ValueError(f"its header is '{','.join(header)[:80]}', without one column {label} and others")
        _check_names(header)
        place = header.index(label)
        columns = header[:place] + header[place + 1 :]
        for line, fields in lines:
            name = class_name(fields[place])
            if not name:
                raise BadLine(line, f"its {label} is empty")
            spellings.add(fields[place])
            pairs = zip(columns, fields[:place] + fields[place + 1 :], strict=True)
            rows.append([_number(line, *pair) for pair in pairs])
            names.append(name)
            rows_of.setdefault(name, []).append(rows[-1])
    except ValueError as error:
        raise ValueError(f"{path} is not such a table ({error}); {ADVICE}") from error
    check_one_spelling(spellings)
    if not rows_of:
        raise ValueError(f"{path} has no rows")
    if alone := [name for name, rows in rows_of.items() if len(rows) < 2]:
        raise ValueError(f"{path} has {len(alone)} classes with a single row, but needs two of each: {some(alone)}")
    counting = (np.diff(rows, axis=0) == 1).all(axis=0)  # (F,)
    is_sorted = sum(map(str.__ne__, names, names[1:])) == len(rows_of) - 1 > 0
    if is_sorted and counting.any():
        what = f"its column {columns[counting.argmax()]} numbers the rows, which are sorted by class"
        raise ValueError(f"{path}: {what}, so it gives the classes away: delete it")
    return columns, rows_of


def _check_names(header: list[str]) -> None:
    """Raises ValueError for columns without a name, which may be row numbers, or of one name."""
    for place, name in enumerate(header, start=1):
        if not name.strip() or name.startswith("Unnamed:"):
            why = "if it numbers the rows, it may give the classes away: delete it, as by index=False in pandas"
            raise ValueError(f"its column {place} has no name; {why}")
    if doubled := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(f"its header has {doubled[0]} twice")


def _number(line: int, column: str, field: str) -> float:
    try:
        number = math.nan if "_" in field else float(field)  # Python takes 2024_01 as 202401
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadLine(line, f"its {column} is '{field[:40]}', not a number")
    return number
