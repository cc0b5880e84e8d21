"""The examples in the docstrings of the package run and print what they show."""

import doctest
from importlib import import_module

import pytest
from conftest import REPOSITORY

MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(REPOSITORY.glob("metalearn/**/*.py"))
    if ">>> " in path.read_text()
]


def test_there_are_examples() -> None:
    assert len(MODULES) > 5


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module: str) -> None:
    failed, tried = doctest.testmod(import_module(module))
    assert tried and not failed
