"""The examples in the docstrings of the package run and print what they show."""

import doctest
import inspect
import re
from importlib import import_module
from typing import Any

import pytest
from conftest import REPOSITORY

import metalearn

MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(REPOSITORY.glob("metalearn/**/*.py"))
    if ">>> " in path.read_text()
]
CLASSES = sorted(
    {f"metalearn.{module}.{name}" for name, module in metalearn._MODULES.items()}
    | {
        name
        for path in REPOSITORY.glob("conf/**/*.yaml")
        for name in re.findall(r"^\s*_target_: (metalearn\.\S+)", path.read_text(), re.MULTILINE)
    }
)
"""Public names, and the classes that YAML files name."""
SHOWN_ONLY = {
    "metalearn.backbones.huggingface",  # downloads a model
    "metalearn.backbones.huggingface_text",  # likewise
    "metalearn.learner.learner",  # reads a finished run
    "metalearn.run.loggers.mlflow_run",  # needs a server
    "metalearn.run.loggers.wandb_run",  # starts a process of W&B
}
"""Modules whose examples are shown but skipped."""


def public(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def test_there_are_classes() -> None:
    assert len(CLASSES) > 90
    assert set(MODULES) >= SHOWN_ONLY


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_class_has_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(public(name)) or "").partition("Examples:\n")[2]


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_of_a_public_class_is_explained(name: str) -> None:
    shown = public(name)
    if not inspect.isclass(shown) or issubclass(shown, tuple):  # comments explain the fields of a tuple
        return
    section = re.search(r"^(?:Args|Attributes):\n((?: {4}.*\n)+)", f"{inspect.getdoc(shown)}\n", re.MULTILINE)
    explained = re.findall(r"^ {4}(\w+):", section[1], re.MULTILINE) if section else []
    variable = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = inspect.signature(shown).parameters.values()
    assert {argument.name for argument in parameters if argument.kind not in variable} <= set(explained)


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module: str) -> None:
    # Drawing glyphs prints a line, which is no result.
    results = doctest.testmod(import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not results.failed
    tried = results.attempted - getattr(results, "skipped", 0)  # Python 3.13 counts skipped ones too
    assert bool(tried) == (module not in SHOWN_ONLY)
