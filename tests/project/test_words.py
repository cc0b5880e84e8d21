"""Plain words in docstrings, comments and pages, by the rules of CONTRIBUTING.md."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

CHECKED = (
    "metalearn/**/*.py",
    "scripts/**/*.py",
    "scripts/*.yaml",
    "conf/**/*.yaml",
    "README.md",
    "CONTRIBUTING.md",
    "docs/**/*.md",
    "tests/**/*.py",
)
"""Globs of the files whose words are plain."""

OPENERS = re.compile(r"(?:^|(?<=[.!?:] ))(Of|That of|These of|Those|The same|What)\b")
WORDS = re.compile(
    r"\b(go(es|ing|ne)? on|went on|lets? go of|sa(ys?|id) of|mend(s|ed|ing)?|tells?|told)\b", re.IGNORECASE
)


@pytest.mark.parametrize("pattern", CHECKED)
def test_words_are_plain(pattern: str) -> None:
    files = sorted(REPOSITORY.glob(pattern))
    assert files, f"no file matches {pattern}"
    found = [f"{path.relative_to(REPOSITORY)}:{fault}" for path in files for fault in faults(path.read_text(), path)]
    assert not found, "CONTRIBUTING.md has the rules of words:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.py", '"""Of the rows."""', ["1: Of the rows."]),
        ("a.py", "def f():\n    '''Adds. Those of a task\n    stay.'''", ["2: Those of a task stay."]),
        ("a.py", "rate = 1  # of the outer loop", ["1: Of the outer loop"]),
        ("a.py", "# Steps that\n# went on", ["1: went on"]),
        ("a.py", '"""Draws.\n\nArgs:\n    seed: of the draw.\n"""', ["1: Of the draw."]),
        ("a.py", 'text = "What is it?"  # title of the page', []),
        ("a.yaml", "seed: 0 # of the weights", ["1: Of the weights"]),
        ("a.yaml", "url: http://host/#part # address of the file", []),
        ("a.md", "It runs. The same command\nstops it.\n", ["1: The same command stops it."]),
        ("a.md", "- What varies\n- numbers\n", ["1: What varies"]),
        ("a.md", "# What varies\n\n| Of it |\n\n    Those\n\n```\nWhat\n```\nThe words `go on`.\n", []),
    ],
)
def test_faults_are_found(name: str, text: str, expected: list[str]) -> None:
    assert faults(text, Path(name)) == expected


def faults(text: str, path: Path) -> list[str]:
    """Lists the forbidden openers and words of a file, each with its line and context."""
    found = []
    for line, prose in texts(text, path.suffix):
        for entry in entries(prose):
            found += [f"{line}: {entry[match.start() :][:60]}" for match in OPENERS.finditer(entry)]
            found += [f"{line}: {match[0]}" for match in WORDS.finditer(entry)]
    return found


def entries(prose: str) -> Iterator[str]:
    """Yields each paragraph, and each description of an argument, in one line with a capital."""
    for paragraph in re.split(r"\n\s*\n", prose):
        arguments = paragraph.lstrip().startswith(("Args:", "Attributes:"))
        for entry in re.split(r"\n\s+\w+: ", paragraph) if arguments else [paragraph]:
            line = " ".join(entry.split())
            yield line[:1].upper() + line[1:]


def texts(text: str, suffix: str) -> Iterator[tuple[int, str]]:
    """Yields the first line and the text of each docstring, comment and paragraph."""
    if suffix == ".py":
        yield from docstrings(text)
        yield from comments(text)
    elif suffix == ".yaml":
        for number, line in enumerate(text.splitlines(), start=1):
            if match := re.search(r"(?:^|\s)#\s+(.*)", line):
                yield number, match[1]
    else:
        yield from paragraphs(text)


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Yields each comment; a comment line that continues the previous one joins it."""
    start, joined, last = 0, "", -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        content, own_line = token.string.lstrip("# "), not token.line[: token.start[1]].strip()
        if own_line and token.start[0] == last + 1:
            joined, last = f"{joined} {content}", token.start[0]
            continue
        if joined:
            yield start, joined
        start, joined, last = token.start[0], content, token.start[0] if own_line else -1
    if joined:
        yield start, joined


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yields the paragraphs and list items of a page without code, tables and headings."""
    fenced, start, lines = False, 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        content = line.strip()
        fence = content.startswith("```")
        fenced ^= fence
        item = re.match(r"\s*(?:[-*]|\d+\.) ", line)
        ends = fence or fenced or not content or line.startswith("    ") or content[0] in "#|!"
        if (ends or item) and lines:
            yield start, " ".join(lines)
            lines = []
        if ends:
            continue
        start = start if lines else number
        lines.append(re.sub(r"`[^`]*`", "`", line[item.end() :] if item else content))
    if lines:
        yield start, " ".join(lines)
