"""Sizes of files and functions, as CONTRIBUTING.md has them."""

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import REPOSITORY

FILE, FUNCTION = 250, 50
PACKAGE = REPOSITORY / "metalearn"


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yields each function of a file with its number of lines, without its docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            has_docstring = ast.get_docstring(node) is not None
            last_before = (node.body[0].end_lineno or 0) if has_docstring else node.lineno
            yield node.name, (node.end_lineno or 0) - last_before


def test_the_limits_are_those_of_the_page() -> None:
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    assert f"Files have at most {FILE} lines, functions at most {FUNCTION} below their docstring" in " ".join(
        page.split()
    )


def test_no_file_is_longer() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert len(lengths) > 300
    assert {path: length for path, length in lengths.items() if length > FILE} == {}


def test_no_function_is_longer() -> None:
    lengths = {f"{path}:{name}": length for path in PACKAGE.rglob("*.py") for name, length in functions(path)}
    assert len(lengths) > 1000
    assert {name: length for name, length in lengths.items() if length > FUNCTION} == {}
