"""Checks of the names of classes and files: equal spellings, and names that are no text."""

import os
import unicodedata
from collections.abc import Iterable


def some(names: list[str]) -> str:
    """Formats the first few names of a list for an error."""
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def class_name(text: str) -> str:
    """Strips a class name, and normalises its accented letters to one code each (NFC)."""
    return unicodedata.normalize("NFC", text.strip())


def check_one_spelling(spellings: Iterable[str]) -> None:
    """Raises ValueError if class names differ only in outer blanks or in codes of a letter."""
    found: dict[str, set[str]] = {}
    for spelling in spellings:
        found.setdefault(class_name(spelling), set()).add(spelling)
    if several := [" and ".join(map(ascii, sorted(spelled))) for spelled in found.values() if len(spelled) > 1]:
        what = "differ only in blanks or in the codes of a letter; give each class one name"
        raise ValueError(f"{len(several)} classes have names that {what}: {some(several)}")


def check_utf8(paths: Iterable[str]) -> None:
    """Raises ValueError for names that are no UTF-8; neither a list nor a log can hold them."""
    if strange := [path for path in paths if not is_utf8(path)]:
        shown = [os.fsencode(path).decode(errors="backslashreplace") for path in strange]
        raise ValueError(f"{len(strange)} names are not UTF-8, rename them: {some(shown)}")


def is_utf8(text: str) -> bool:
    """Whether a text holds no half of a character (a surrogate), which UTF-8 cannot encode."""
    return text.encode(errors="replace").decode() == text
