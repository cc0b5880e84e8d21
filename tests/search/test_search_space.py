"""The search space: its grammar and its presets; nothing else imports Optuna."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from conftest import REPOSITORY, resolved
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metalearn.run.checks.config import check_config
from metalearn.run.command.grammar import value
from metalearn.search import space as search_space
from metalearn.search.best import Findings
from metalearn.search.objectives import objectives
from metalearn.search.study import open_study


@pytest.mark.parametrize(
    ("written", "distribution"),
    [
        ("interval(0, 1)", FloatDistribution(0, 1)),
        ("tag(log, interval(0.01, 1))", FloatDistribution(0.01, 1, log=True)),
        ("int(interval(1, 5))", IntDistribution(1, 5)),
        ("tag(log, int(interval(1, 100)))", IntDistribution(1, 100, log=True)),
        ("range(1, 6)", IntDistribution(1, 5)),
        ("range(2, 11, step=3)", IntDistribution(2, 8, step=3)),
        ("range(5, 1, step=-2)", IntDistribution(3, 5, step=2)),
        ("range(0, 1, step=0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("tag(log, range(1, 10))", IntDistribution(1, 9, log=True)),
        ("shuffle(range(1, 4))", IntDistribution(1, 3)),
        ("shuffle(d, c, b, a)", CategoricalDistribution(["d", "c", "b", "a"])),
        ("choice(relu, tanh)", CategoricalDistribution(["relu", "tanh"])),
        ("1,5", CategoricalDistribution(["1", "5"])),
        ("choice([1,2],true,0.1)", CategoricalDistribution(["[1,2]", "True", "0.1"])),
    ],
)
def test_the_grammar_of_search_spaces(written: str, distribution: Any) -> None:
    space, fixed = search_space.read({"a": written, "b": 3}, ["algorithm=maml"])
    assert fixed == ["b=3", "algorithm=maml"]
    assert space == {"a": distribution}


@pytest.mark.parametrize("fixed", [None, True, 3, 0.5, "cosine", [1, None, "2"]])
def test_a_param_that_does_not_vary_keeps_its_value(fixed: Any) -> None:
    _, (override,) = search_space.read(OmegaConf.create({"a": "interval(0, 1)", "b": fixed}), [])
    assert value(override) == fixed


@pytest.mark.parametrize("log", ["range(1, 9, step=2)", "range(0, 1, step=0.25)"])
def test_a_logarithm_has_no_steps(log: str) -> None:
    with pytest.raises(ValueError, match=r"a=tag\(log, range.* is not a search space: .*step"):
        search_space.read({"a": f"tag(log, {log})"}, [])


@pytest.mark.parametrize("text", ["it's", 'a"b', "é", "#", "~x", "a b", "a,b"])
def test_a_choice_reads_as_it_was_typed(text: str) -> None:
    space, _ = search_space.read({"x": f"choice({QuotedString(text, Quote.single).with_quotes()},b)"}, [])
    first, second = space["x"].choices
    assert [value(override) for x in (first, second) for override in search_space.overrides({"x": x})] == [text, "b"]


def test_a_grid_has_equal_choices_once() -> None:
    space, _ = search_space.read({"a": "1,1,2", "b": "tag(log, range(1, 3))"}, [])
    assert search_space.points(space) == {"a": ["1", "2"], "b": [1, 2]}


def test_a_search_goes_on_with_its_words_in_another_order(tmp_path: Path) -> None:
    """A half of a grid comes from each order; the table has each value below its name."""
    words = ["a=choice(1, 2, 3)", "b=choice(10, 20)"]
    aims = objectives(["score"], "accuracy")
    for arguments in (words, words[::-1]):
        space, fixed = search_space.read({}, arguments)
        study = open_study(
            str(tmp_path / "study.log"),
            name="s",
            objectives=aims,
            space=space,
            fixed=fixed,
            composed={},
            sampler="grid",
            seed=0,
        )
        for _ in range(3):
            study.tell(study.ask(space), 0.5)
    drawn = {(trial.params["a"], trial.params["b"]) for trial in study.trials}
    assert drawn == {(a, b) for a in "123" for b in ("10", "20")}

    trials: Any = SimpleNamespace(objectives=aims, seeds=[], folder=lambda trial: Path(f"{trial.number}"))
    table = Findings(trials, screen=None, folder=tmp_path)._table(study.trials)  # type: ignore[arg-type]
    shown = {str(column.header): list(column.cells) for column in table.columns}
    assert shown["a"] == [trial.params["a"] for trial in study.trials]
    assert shown["b"] == [trial.params["b"] for trial in study.trials]


def test_the_command_line_wins_over_the_params_of_a_preset() -> None:
    params = {"a": "interval(0, 1)", "b": "choice(1, 2)"}
    assert search_space.read(params, ["a=0.5"]) == ({"b": CategoricalDistribution(["1", "2"])}, ["a=0.5"])
    space, _ = search_space.read(params, ["a=tag(log,interval(1,2))"])
    assert space["a"] == FloatDistribution(1, 2, log=True)
    assert search_space.read(params, ["++a=0.5", "+b=2,3"]) == (
        {"+b": CategoricalDistribution(["2", "3"])},
        ["++a=0.5"],
    )
    assert search_space.read({"+a": 1, "b": "1,2"}, ["++a=2"])[1] == ["++a=2"]


@pytest.mark.parametrize("option", [path.stem for path in (REPOSITORY / "conf/hparams_search").glob("*.yaml")])
def test_a_preset_searches_what_its_name_says(option: str) -> None:
    config = resolved(f"hparams_search={option}")
    algorithm, dataset = option.rsplit("_", 1)
    assert config["dataset"]["_target_"].lower().endswith(dataset)
    assert config["algorithm"]["_target_"].lower().endswith(algorithm)
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        hydra = compose("config", [f"hparams_search={option}"], return_hydra_config=True).hydra
    assert hydra.mode.name == "MULTIRUN"
    space, _ = search_space.read(dict(hydra.sweeper.params), [])
    sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask(space).params
    check_config(resolved(f"hparams_search={option}", *search_space.overrides(sampled)))


def test_only_a_search_imports_optuna(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("raise ImportError")
    environment = {**environment, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "metalearn", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, check=False, capture_output=True, text=True)

    assert call("--help").returncode == 0
    searched = call("hparams_search=maml_glyphs")
    assert searched.returncode == 2
    needed = "hydra/sweeper=optuna needs Optuna: pip install -e '.[search]' in the checkout"
    assert searched.stderr == f"metalearn: {needed}\n"
