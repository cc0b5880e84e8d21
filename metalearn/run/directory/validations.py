"""The validations in metrics.csv, read as far as they are intact; damage is one line."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Validation(NamedTuple):
    """One validation during a training."""

    step: int
    seconds: float | None  # seconds of training so far, where the run logged them
    score: float


class ValidationCurve(NamedTuple):
    """Finite scores at meta-val in metrics.csv."""

    score: str = ""
    validations: Sequence[Validation] = ()
    damage: str = ""  # empty for an intact file


def validation_curve(path: Path, scores: Iterable[str]) -> ValidationCurve:
    """Returns the validation curve of the first of these scores that exists, without torn rows."""
    if not path.is_file():
        return ValidationCurve()
    try:
        text = path.read_bytes().decode(errors="replace")
        head, *rows = list(csv.reader(text.splitlines())) or [[]]
    except (OSError, csv.Error) as error:
        return ValidationCurve(damage=f"{path} cannot be read: {error}")
    score = next((name for name in scores if f"val/{name}" in head), None)
    if score is None:
        return ValidationCurve()
    if "step" not in head:
        return ValidationCurve(damage=f"{path} has no column 'step'")
    if not text.endswith("\n") and rows:
        rows[-1] = ["torn"]  # its last number may have lost digits
    found, torn = list[Validation](), list[int]()
    for line, row in enumerate(rows, 2):
        named = dict(zip(head, row, strict=False))
        try:
            if len(row) != len(head):
                raise ValueError("the row is torn")
            if named[f"val/{score}"]:
                found.append(_validation(named, score))
        except ValueError:
            torn.append(line)
    finite = [validation for validation in found if math.isfinite(validation.score)]
    return ValidationCurve(score, finite, _torn(path, torn) if torn else "")


def _validation(row: dict[str, str], score: str) -> Validation:
    seconds = row.get("val/seconds")
    return Validation(int(row["step"]), float(seconds) if seconds else None, float(row[f"val/{score}"]))


def _torn(path: Path, numbers: Iterable[int]) -> str:
    first, *others = numbers
    said = f"lines {first} and {len(others)} more are" if others else f"line {first} is"
    return f"{path}: {said} torn and left out"
