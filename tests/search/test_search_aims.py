"""Searches over several seeds, with several objectives, from start points; the best as a file."""

import csv
import json
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml
from conftest import REPOSITORY
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from optuna.trial import TrialState
from searching import Controller, impatient  # noqa: F401

from metalearn.run.trials.trial import VARIABLE
from metalearn.search.experiment import as_experiment
from metalearn.search.objectives import objectives
from metalearn.search.sweeper import OptunaSweeper
from metalearn.sweep import definition, standing
from metalearn.sweep.jobs import Job

RESULT = """printf '{"status": "completed", "seconds": {"adapt": 1, "predict": %s},
    "val": {"accuracy": {"mean": %s, "std": 0, "ci95": 0, "num_episodes": 1}}}' """
BY_SEED = f"""{RESULT} 1 $(awk "BEGIN {{ print ($x + $seed) / 10 }}") > result.json"""
TRADE = f"""{RESULT} $(awk "BEGIN {{ print ($x - 2) ^ 2 }}") $(awk "BEGIN {{ print $x / 10 }}") > result.json"""


def test_the_value_of_a_trial_is_its_mean_over_seeds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    search = Controller(tmp_path, script=BY_SEED, seeds=[0, 1, 5], n_trials=2, params="interval(0, 1)")
    search.run()
    for trial in search.trials.all(TrialState.COMPLETE):
        assert trial.value == pytest.approx((trial.params["x"] + 2) / 10, abs=1e-6)
    folders = {f"000{i}/seed{seed}" for i in range(2) for seed in (0, 1, 5)}
    assert {str(job.folder.relative_to(tmp_path)) for job in search.jobs} == folders
    assert all(f"seed={job.folder.name.removeprefix('seed')}" in job.overrides for job in search.jobs)
    assert "means over 3 seeds" in " ".join(capfd.readouterr().out.split())
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best["seeds"] == [0, 1, 5]
    assert best["command"].endswith(" seed=0")
    definition.record(tmp_path, [], ["--multirun"])
    assert {job.name for job in standing.read(tmp_path)} == folders


def test_each_seed_begins_after_the_one_before_and_knows_its_folder(tmp_path: Path) -> None:
    waits = "[ $seed = 0 ] || [ -e ../seed$((seed - 1))/result.json ] || exit 1"
    script = f'{waits}; echo "${VARIABLE}" > known; {BY_SEED}'
    search = Controller(tmp_path, script=script, seeds=[0, 1, 2], n_trials=1, slots=3)
    search.run()
    assert search.states() == ["COMPLETE"]
    addresses = [json.loads((tmp_path / f"0000/seed{i}/known").read_text()) for i in range(3)]
    assert [[Path(folder).name for folder in address["earlier"]] for address in addresses] == [
        [],
        ["seed0"],
        ["seed0", "seed1"],
    ]


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize(
    ("end", "state"),
    [("""echo '{"status": "pruned", "seconds": {}}' > result.json""", "PRUNED"), ("exit 1", "FAIL")],
)
def test_a_trial_ends_with_a_bad_seed(tmp_path: Path, bad: int, end: str, state: str) -> None:
    script = f"if [ $PWD = {tmp_path}/0000/seed{bad} ]; then {end}; else {BY_SEED}; fi"
    search = Controller(tmp_path, script=script, seeds=[0, 1, 2], n_trials=2, slots=1)
    search.run()
    assert search.states() == [state, "COMPLETE"] + ["COMPLETE"] * (state == "FAIL")
    assert [(tmp_path / f"0000/seed{i}").exists() for i in range(3)] == [i <= bad for i in range(3)]


def test_a_search_whose_second_seed_always_fails_gives_up(tmp_path: Path) -> None:
    search = Controller(tmp_path, script=f"[ $seed = 0 ] || exit 1; {BY_SEED}", seeds=[0, 1], n_trials=9, slots=1)
    search.run()
    assert search.states() == ["FAIL"] * 5


def test_a_trial_continues_with_the_seeds_that_are_missing(tmp_path: Path) -> None:
    search = Controller(tmp_path, seeds=[0, 1], n_trials=1)
    first = search.trials.ask()
    first.folder.mkdir(parents=True)
    (first.folder / "result.json").write_text(
        '{"status": "completed", "val": {"accuracy": {"mean": 0.5, "std": 0, "ci95": 0, "num_episodes": 1}}}'
    )
    first.status = "completed"
    search.trials.tell(first)
    search.trials.leave()
    assert search.states() == ["FAIL", "WAITING"]
    again = Controller(tmp_path, script=BY_SEED, seeds=[0, 1], n_trials=1)
    again.run()
    assert [job.folder.name for job in again.jobs] == ["seed1"]
    assert again.states() == ["FAIL", "COMPLETE"]
    with pytest.raises(ValueError, match="for seeds it has .* this command None"):
        Controller(tmp_path, n_trials=1)


def test_the_pareto_front_of_two_objectives(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Compares the front with all pairs: accuracy is x / 10, and seconds are 1 + (x - 2)²."""
    aims = ("score", "seconds_per_task")
    search = Controller(tmp_path, script=TRADE, aims=aims, params="range(0, 6)", sampler="grid", n_trials=9)
    search.run()
    rows = list(csv.DictReader((tmp_path / "pareto.csv").open()))
    points = {int(row["x"]): (float(row["accuracy"]), float(row["seconds_per_task"])) for row in rows}
    assert points == {x: (x / 10, 1 + (x - 2) ** 2) for x in range(6)}

    def is_beaten(x: int) -> bool:
        (score, seconds), others = points[x], (point for y, point in points.items() if y != x)
        return any(a >= score and b <= seconds and (a, b) != (score, seconds) for a, b in others)

    assert {int(row["x"]) for row in rows if row["on_front"] == "1"} == {x for x in points if not is_beaten(x)}
    assert "the Pareto front" in capfd.readouterr().out
    assert not (tmp_path / "best.yaml").exists()


def test_the_time_of_a_task_is_named_after_meta_test(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    search = Controller(tmp_path, script=TRADE, aims=["seconds_per_task"], params="range(0, 6)", sampler="grid")
    search.run()
    assert "the best trials by seconds_per_task at meta-test" in " ".join(capfd.readouterr().out.split())
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best["test_seconds_per_task"] == min(trial.value for trial in search.trials.all(TrialState.COMPLETE))
    assert "val_seconds_per_task" not in best


def test_the_best_parameters_have_the_types_of_their_choices(tmp_path: Path) -> None:
    search = Controller(tmp_path, script=TRADE, aims=["score"], params="0.25,3,1e-3", sampler="grid")
    search.run()
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["parameters"] == {"x": 3}


def test_a_search_begins_at_its_start_points(tmp_path: Path) -> None:
    start = [{"x": 0.25}, {"x": 0.75}]
    for n_trials in (1, 3):
        search = Controller(tmp_path, start=start, n_trials=n_trials, slots=1)
        search.run()
    assert search.values()[:2] == [0.25, 0.75]
    assert len(search.values()) == 3


def test_a_search_that_was_killed_while_it_queued_start_points_has_all(tmp_path: Path, monkeypatch) -> None:
    start = [{"x": 0.25}, {"x": 0.75}]
    with monkeypatch.context() as patch:
        patch.setattr("optuna.Study.enqueue_trial", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Controller(tmp_path, start=start)
    Controller(tmp_path, start=start[:1])
    search = Controller(tmp_path, start=start, n_trials=3, slots=1)
    search.run()
    assert search.values()[:2] == [0.25, 0.75] and len(search.values()) == 3


def test_start_points_of_a_continued_search_come_next(tmp_path: Path) -> None:
    Controller(tmp_path, n_trials=1).run()
    search = Controller(tmp_path, start=[{"x": 0.75}], n_trials=2)
    search.run()
    assert search.values()[1:] == [0.75]


def test_start_points_that_do_not_run_are_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Controller(tmp_path, start=[{"x": 0.25}], n_trials=1).run()
    assert "start points" not in capfd.readouterr().out
    Controller(tmp_path, start=[{"x": 0.5}, {"x": 0.75}], n_trials=1).run()
    said = " ".join(capfd.readouterr().out.split())
    assert "queued trials, such as start points, that have not run: 2; hydra.sweeper.n_trials=3 runs them" in said
    Controller(tmp_path, start=[{"x": 0.5}, {"x": 0.75}], n_trials=3).run()
    assert "start points" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("point", "line"),
    [({"x": 2.0}, "hydra.sweeper.start has x=2.0, outside of"), ({"z": 1}, "has z, which the search does not vary")],
)
def test_a_start_point_outside_of_the_space_is_refused(tmp_path: Path, point: dict, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Controller(tmp_path, start=[point])


def sweeper_with(settings: dict) -> OptunaSweeper:
    usual = {"sampler": "tpe", "pruner": "median", "seeds": [], "objectives": ["score"], "start": [], "seed": 0}
    return OptunaSweeper(1, **{**usual, **settings}, storage="study.log", study_name=None, params={})


@pytest.mark.parametrize(
    ("params", "points", "texts"),
    [("choice([2,5],5)", [[2, 5], "[2,5]", 5], ["[2,5]", "5"]), ("null,1.0", [None, 1.0], ["null", "1.0"])],
)
def test_a_list_and_a_null_may_be_start_points(tmp_path: Path, params: str, points: list, texts: list[str]) -> None:
    file = OmegaConf.load(REPOSITORY / "conf/hydra/sweeper/optuna.yaml")
    config = OmegaConf.create({"hydra": {"sweeper": file, "sweep": {"dir": "out"}}})
    config.hydra.sweeper._target_ = "metalearn.search.sweeper.OptunaSweeper"
    config.hydra.sweeper.start = [{"x": point} for point in points]
    sweeper = instantiate(config.hydra.sweeper)  # as Hydra gives them
    search = Controller(tmp_path, params=params, start=sweeper.start)
    assert [trial.system_attrs["fixed_params"]["x"] for trial in search.study.get_trials()] == texts


def test_a_choice_may_be_a_start_point(tmp_path: Path) -> None:
    search = Controller(tmp_path, params="choice(1, true, big)", start=[{"x": True}, {"x": 1}], script="exit 1")
    assert [search.trials.ask().overrides[-1] for _ in range(2)] == ["x=True", "x=1"]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"seeds": [1, 1]}, r"seeds=\[1, 1\] has a seed twice"),
        ({"seeds": [1, -1]}, r"seeds=\[1, -1\] has a negative seed"),
        ({"start": [{"x": 1}], "sampler": "grid"}, "grid runs all points"),
        ({"objectives": ["score", "seconds_per_task"]}, "pruner=median compares scores at meta-val, not"),
        ({"objectives": ["seconds_per_task"]}, "not seconds_per_task: give hydra.sweeper.pruner=none"),
        ({"objectives": ["score", "seconds_per_task"], "pruner": "none", "sampler": "cmaes"}, "cmaes has one"),
    ],
)
def test_settings_that_exclude_each_other(settings: dict, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        sweeper_with(settings)._check_combinations()


def test_another_objective_of_the_same_direction_is_another_search(tmp_path: Path) -> None:
    Controller(tmp_path, aims=["score"], score="mse")
    Controller(tmp_path, aims=["score"], score="mse")
    with pytest.raises(ValueError, match=r"for objectives it has None, this command \['seconds_per_task'\]"):
        Controller(tmp_path, aims=["seconds_per_task"], score="mse")
    Controller(tmp_path / "time", aims=["seconds_per_task"], score="mse")
    with pytest.raises(ValueError, match=r"for objectives it has \['seconds_per_task'\], this command None"):
        Controller(tmp_path / "time", aims=["score"], score="mse")


@pytest.mark.parametrize(
    ("aim", "score", "seconds", "expected"),
    [
        ("score", "accuracy", {}, ("accuracy", "val", "maximize", 0.5)),
        ("score", "mse", {}, ("mse", "val", "minimize", 0.5)),
        ("seconds_per_task", "mse", {"adapt": 0.25, "predict": 0.5}, ("seconds_per_task", "test", "minimize", 0.75)),
        ("seconds_per_task", "mse", {"predict": 0.5}, ("seconds_per_task", "test", "minimize", 0.5)),
        ("seconds_per_task", "mse", {"adapt": 0.5}, ("seconds_per_task", "test", "minimize", None)),
    ],
)
def test_an_objective_is_a_number_of_a_run(
    aim: str, score: str, seconds: dict, expected: tuple, tmp_path: Path
) -> None:
    estimate = {"std": 0.1, "ci95": 0.1, "num_episodes": 4}
    scores = {split: {score: {"mean": mean, **estimate}} for split, mean in (("val", 0.5), ("test", 0.6))}
    (tmp_path / "result.json").write_text(json.dumps({"status": "completed", "seconds": seconds, **scores}))
    (objective,) = objectives([aim], score)
    assert (objective.name, objective.split, objective.direction, objective.value(Job(0, [], tmp_path))) == expected
    assert objective.text(0.5) == ("50.00 %" if score == "accuracy" else "0.5")
    assert [objective.name for objective in objectives(["seconds_per_task", "score"], score)][1] == score


@pytest.mark.parametrize("aims", [["accuracy"], [], ["score", "score"]])
def test_an_unknown_objective_is_refused(tmp_path: Path, aims: list[str]) -> None:
    with pytest.raises(ValueError, match="must list some of score, seconds_per_task, each once"):
        Controller(tmp_path, aims=aims)


@pytest.mark.parametrize("experiment", [[], ["experiment=prototypical_omniglot"], ["experiment=[maml_omniglot]"]])
def test_the_best_trial_is_an_experiment(experiment: list[str], tmp_path: Path) -> None:
    """Composes the same run as its overrides do, from the file of the search."""
    overrides = ["algorithm=maml", "dataset@test_dataset=glyphs", "algorithm.inner_lr=0.25", "optimizer.lr=1e-3"]
    overrides += ["trainer.max_steps=7", "+trainer.detect_anomaly=true", "episode.train.shot=[1,3]", *experiment]
    groups = {"algorithm", "trainer", "optimizer", "dataset", "experiment"}
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\n" + as_experiment(overrides, groups.__contains__)
    (tmp_path / "experiment/best.yaml").write_text(text)
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        typed, read = (
            compose("config", [f"hydra.searchpath=['file://{tmp_path}']", *given])
            for given in (overrides, ["experiment=best"])
        )
    assert OmegaConf.to_container(typed) == OmegaConf.to_container(read)
    with pytest.raises(ValueError, match="~optimizer.lr deletes a setting"):
        as_experiment(["~optimizer.lr"], groups.__contains__)
    with pytest.raises(ValueError, match="experiment=best cannot be part of a file of its name"):
        as_experiment(["experiment=best"], groups.__contains__)
