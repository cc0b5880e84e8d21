"""The public names of the package, and the program of docs/python.md."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from conftest import REPOSITORY

import metalearn

PAGE = (REPOSITORY / "docs/python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

SMALLER = {
    "num_alphabets=[40, 8, 12]": "num_alphabets=[3, 1, 1]",
    "num_episodes=200": "num_episodes=2",
    "num_episodes=600": "num_episodes=3",
    "max_steps=300, val_check_interval=100": 'max_steps=2, accelerator="cpu", enable_progress_bar=False',
}
"""Sizes of the page's program, and smaller ones."""


@pytest.mark.parametrize(
    ("program", "slow"),
    [
        ("import metalearn", "torch lightning numpy hydra"),
        ("import metalearn.__main__", "torch lightning numpy optuna"),
        ("import metalearn.report.__main__", "torch lightning optuna hydra"),
        ("import metalearn.sweep.__main__", "torch lightning optuna"),
        (
            "import metalearn.predict.__main__, metalearn.export.__main__, metalearn.demo.__main__",
            "torch lightning numpy hydra rich",
        ),
        ("from metalearn import Learner", "lightning torchmetrics transformers"),
        (
            "import metalearn.run.process.torchmetrics_imports, metalearn.run.run",
            "matplotlib scipy transformers optuna",
        ),
    ],
)
def test_a_program_starts_without_slow_packages_that_it_does_not_use(program: str, slow: str) -> None:
    program = f"import sys; {program}; print(set({slow.split()}) & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", metalearn.__all__)
def test_a_public_name_is_the_object_of_its_module(name: str) -> None:
    module = import_module(f"metalearn.{metalearn._MODULES[name]}")
    assert getattr(metalearn, name) is getattr(module, name)
    assert name in dir(metalearn)
    assert getattr(metalearn, name).__module__ == module.__name__


def test_type_checkers_see_the_same_names() -> None:
    source = ast.parse((REPOSITORY / "metalearn/__init__.py").read_text())
    seen = {
        (alias.asname, f"{node.module}.{alias.name}")
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("metalearn")
        for alias in node.names
    }
    assert seen == {(name, f"metalearn.{module}.{name}") for name, module in metalearn._MODULES.items()}
    assert (REPOSITORY / "metalearn/py.typed").exists()


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="module 'metalearn' has no attribute 'Maml'"):
        _ = metalearn.Maml


def test_the_page_lists_every_name() -> None:
    names = re.findall(r"`(\w+)`", PAGE.partition("## Names")[2].partition("Every other")[0])
    assert sorted(names) == sorted(metalearn.__all__)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runs all blocks of the page in turn and returns their variables."""
    program = "".join(BLOCKS)
    for written, smaller in SMALLER.items():
        assert program.count(written) == 1, written
        program = program.replace(written, smaller)
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("python"))
        exec(program, names)
    return names


def test_the_program_of_the_page_runs(names: dict[str, Any]) -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 20
    assert names["trainer"].global_step == 2
    assert names["result"]["accuracy"]["num_episodes"] == len(names["scores"]["accuracy"]) == 3
    assert names["logits"].shape == (100, 20)
    assert names["loss"].requires_grad
    assert names["bank"].num_classes == 10
