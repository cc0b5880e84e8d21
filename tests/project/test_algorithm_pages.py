"""The page of each algorithm: its equations beside the code, and the formula of what it logs."""

import re
from importlib import import_module

import pytest
import yaml
from conftest import REPOSITORY

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.neural_process import AbstractNeuralProcess

PAGES = {path.stem: path.read_text() for path in (REPOSITORY / "docs/algorithms").glob("*.md") if path.stem != "index"}
SOURCE = "\n".join(
    path.read_text()
    for pattern in ("metalearn/algorithms/**/*.py", "metalearn/backbones/*.py", "metalearn/losses.py", "conf/**/*.yaml")
    for path in REPOSITORY.glob(pattern)
)


def rows(page: str, header: str) -> list[list[str]]:
    """Returns the cells of the first table whose header begins with a word."""
    table = re.search(rf"^\| {header} \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert table, f"no table of {header}"
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in table[1].splitlines()]


def algorithm(name: str) -> type[AbstractAlgorithm]:
    config = yaml.safe_load((REPOSITORY / f"conf/algorithm/{name}.yaml").read_text())
    if "_target_" not in config:  # a variant of another algorithm
        return algorithm(config["defaults"][0])
    module, _, attribute = config["_target_"].rpartition(".")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_equations_stand_beside_code_that_exists(name: str) -> None:
    codes = [code for cells in rows(PAGES[name], "paper") for code in re.findall(r"`([^`]+)`", cells[1])]
    assert codes
    words = {word for code in codes for word in re.findall(r"[A-Za-z_]\w+", re.sub(r'"[^"]*"|[\w/]+\.py', "", code))}
    assert [word for word in sorted(words) if not re.search(rf"\b{word}\b", SOURCE)] == []


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_logged_metric_has_its_formula(name: str) -> None:
    of_class = algorithm(name)
    score = "mse" if issubclass(of_class, AbstractNeuralProcess) else "accuracy"
    logged = {f"{split}/{metric}" for split in ("val", "test") for metric in (score, f"{score}_ci95", "loss")}
    logged |= {"train/loss"} | ({f"train/{score}"} if name != "reptile" else set())  # its loss predicts no queries
    logged |= {"test/calibration_error"} if score == "accuracy" else set()
    logged |= {f"test/accuracy_{of_class.stage}_K"} if of_class.stage else set()
    logged |= {"test/accuracy_instance_K"} if of_class.curves is not AbstractAlgorithm.curves else set()
    section = PAGES[name].partition("## Logged metrics\n")[2].partition("\n## ")[0]
    explained = {
        metric for cells in rows(section, "name") for metric in re.findall(r"`(\w+/\w+)`", cells[0]) if cells[1].strip()
    }
    assert explained == logged
