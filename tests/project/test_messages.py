"""Plain words in messages, and names of variables, by the rules of CONTRIBUTING.md."""

import ast
import re
from collections.abc import Iterator

import pytest
from test_words import OPENERS, REPOSITORY, WORDS

FILES = sorted([*REPOSITORY.glob("metalearn/**/*.py"), *REPOSITORY.glob("scripts/**/*.py")])
TESTS = sorted(REPOSITORY.glob("tests/**/*.py"))

CALQUES = re.compile(
    r"(?<!there )\b(?:is|are|was|were) no (?!longer)"  # "is not a CSV file" in place of "is no CSV file"
    r"|\bha(?:s|ve) not the\b|\bin its place\b|, say\b|\bthere (?:twice|already)\b",
    re.IGNORECASE,
)
NAMES = {"one", "of", "known", "on", "by"}
"""Names of variables and parameters that do not state what they hold."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('raise ValueError(f"{path} is no CSV file")', ["1: {} is no CSV file"]),
        ('log.info("the next run goes on from %d", 3)', ["1: the next run goes on from %d"]),
        ('print("of the weights that are left")', ["1: of the weights that are left"]),
        ('remedy = f"{name} tells {a} and {b} apart"', ["1: {} tells {} and {} apart"]),
        ('"""It is no message."""\nraise ValueError("there is no key here")', []),
        ("def f(one): return [of for of in one]", ["1: one", "1: of"]),
        ("def one(by_class): return {name: value for name, value in by_class}", []),
    ],
)
def test_faults_are_found(text: str, expected: list[str]) -> None:
    assert faults(text) == expected


def test_messages_and_names_are_plain() -> None:
    assert len(FILES) > 150
    found = [f"{path.relative_to(REPOSITORY)}:{fault}" for path in FILES for fault in faults(path.read_text())]
    assert not found, "CONTRIBUTING.md has the rules of words:\n" + "\n".join(found)


def test_names_in_tests_are_plain() -> None:
    """Messages in tests may be those of other programs."""
    found = [f"{path.name}:{fault}" for path in TESTS for fault in empty_names(ast.parse(path.read_text()))]
    assert not found, "CONTRIBUTING.md has the rules of words:\n" + "\n".join(found)


def faults(text: str) -> list[str]:
    """Lists the odd messages and the empty names of a file, each with its line."""
    tree = ast.parse(text)
    patterns = (OPENERS, WORDS, CALQUES)
    odd = (
        f"{line}: {message[:80]}"
        for line, message in messages(tree)
        if any(pattern.search(message[:1].upper() + message[1:]) for pattern in patterns)
    )
    return [*odd, *empty_names(tree)]


def empty_names(tree: ast.AST) -> list[str]:
    return [f"{line}: {name}" for line, name in names(tree) if name in NAMES]


def messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields the strings of at least three words that are not docstrings; values become {}."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in docstrings | parts:
            continue
        match node:
            case ast.JoinedStr(values=values):
                message = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in values)
            case ast.Constant(value=str(message)):
                pass
            case _:
                continue
        if len(re.findall(r"\b[A-Za-z]+\b", message)) > 2 and " " in message.strip():
            yield node.lineno, message


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields the names of parameters and variables."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
