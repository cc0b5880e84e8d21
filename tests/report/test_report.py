"""Runs grouped into cells: averaged over seeds, separated and marked by protocol."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import TRAIN, contents, episode, leave, regression, result, runs

from metalearn.report.comparing.comparison import Comparison, compare
from metalearn.report.comparing.paired import pairs
from metalearn.report.reading.runs import find
from metalearn.report.tables import tables


def compared(*results: dict[str, Any]) -> Comparison:
    return compare(runs(*results))


def table(*results: dict[str, Any]) -> list[list[str]]:
    """Returns the table of algorithms by settings, including marks."""
    return [[f"{c.text} {c.mark}".strip() for c in row] for row in tables.settings(compared(*results)).rows]


def test_seeds_are_averaged_with_the_interval_over_seeds() -> None:
    means = [0.90, 0.92, 0.93]
    (cell,) = compared(*(result(mean, seed=seed) for seed, mean in enumerate(means))).cells
    assert cell.mean == pytest.approx(sum(means) / 3)
    assert cell.estimate.ci95 == pytest.approx(4.30265 * np.std(means, ddof=1) / math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize(
    ("problem", "score"), [("regression", "mse"), ("classification", "accuracy"), (None, "accuracy")]
)
def test_failed_runs_have_the_column_of_their_problem(problem: str | None, score: str) -> None:
    (cell,) = compared(result(None, status="failed", problem=problem)).cells
    assert cell.column.score.name == score


def test_each_run_has_the_column_of_its_own_measure() -> None:
    cells = compared(result(), regression(0.3, dataset="glyphs", seed=1)).cells
    assert sorted((cell.column.score.name, cell.mean) for cell in cells) == [("accuracy", 0.9), ("mse", 0.3)]


def test_of_a_key_typed_twice_the_last_value_counts() -> None:
    twice = ["trainer.max_steps=4", "backbone.channels=8", "+trainer.max_steps=6", "backbone.channels=16"]
    (cell,) = compared(result(overrides=twice), result(overrides=twice[2:], seed=1)).cells
    assert (cell.method.overrides, cell.protocol.overrides) == (("backbone.channels=16",), ("+trainer.max_steps=6",))


def test_the_part_of_a_data_set_is_of_the_protocol() -> None:
    (cell,) = compared(result(overrides=["dataset@dataset.images=mnist"])).cells
    assert (cell.method.overrides, cell.protocol.overrides) == ((), ("dataset@dataset.images=mnist",))


def test_one_run_has_the_interval_over_its_episodes() -> None:
    (cell,) = compared(result()).cells
    assert (cell.mean, cell.estimate.ci95) == (0.9, 0.008)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_norm": "batch", "transductive": True},
        {"tasks_per_batch": 4},
        {"devices": 2},
        {"batch_size": 64},
        {"trained_dataset": "omniglot"},
        {"trained_with": ["algorithm=matching"]},
        {"overrides": ["trainer.max_steps=10"]},
        {"episode": episode(train={"way": 60, "shot": 1, "query": 5})},
        {"episode": episode(train={**TRAIN, "shots": "unequal"})},
        {"episode": episode(train={**TRAIN, "queries": "unequal"})},
        {"episode": episode(query=1)},
        {"accumulate_grad_batches": 4},
        {"test": {**result()["test"], "episodes_sha256": "f" * 16}},
    ],
)
def test_protocols_share_a_column_only_with_marks(change: dict[str, Any]) -> None:
    rows = table(result(seed=0), result(seed=1), result(0.8, seed=2, **change))
    assert sorted(row[1].split()[-1] for row in rows) == ["a", "b"]
    notes = {note.mark: note.text for note in tables.settings(compared(result(), result(**change))).notes}
    assert notes["a"] != notes["b"]


def test_other_numbers_of_shots_and_queries_of_a_class_are_columns_of_their_own() -> None:
    def tested(**how: str) -> dict[str, Any]:
        return result(episode=episode(shot=[1, 10]) | {"test": {**episode(shot=[1, 10])["test"], **how}})

    ways = [{}, {"shots": "unequal"}, {"shots": "meta_dataset"}, {"queries": "unequal"}]
    assert {str(column) for column in compared(*(tested(**how) for how in ways)).columns} == {
        "glyphs 5-way 1 to 10-shot",
        "glyphs 5-way 1 to 10-shot unequal shots",
        "glyphs 5-way 1 to 10-shot by Meta-Dataset's rule",
        "glyphs 5-way 1 to 10-shot unequal queries",
    }


def test_the_runs_of_lake_are_a_column_of_their_own() -> None:
    ordinary = result(episode=episode(way=20))
    rate = {"mean": 0.1, "low": 0.08, "high": 0.12, "num_trials": 400}
    lake = result(episode=episode(way=20), test={**result()["test"], "error": rate})
    columns = {str(column) for column in compared(ordinary, lake).columns}
    assert columns == {"glyphs 20-way 1-shot", "glyphs 20-way 1-shot of Lake et al."}


def test_a_single_query_and_a_single_episode_are_no_plural() -> None:
    setting = episode()
    (cell,) = compared(result(episode={**setting, "test": {**setting["test"], "query": 1, "num_episodes": 1}})).cells
    assert cell.protocol.test == "1 query, 1 episode"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"backbone": "mlp"}, "prototypical mlp"),
        ({"overrides": ["optimizer.lr=0.1"]}, "prototypical optimizer.lr=0.1"),
        ({"overrides": ["experiment=fast"]}, "prototypical experiment=fast"),
    ],
)
def test_methods_have_a_row_each_that_says_what_differs(change: dict[str, Any], name: str) -> None:
    rows = table(result(), result(0.95, **change))
    assert [row[1] for row in rows] == ["95.00 ± 0.80", "90.00 ± 0.80"]
    assert rows[0][0] == name


def test_what_all_runs_share_is_said_once() -> None:
    comparison = compared(*(result(algorithm=name, overrides=["optimizer.lr=0.1"]) for name in ("maml", "anil")))
    assert [line.method.algorithm for line in comparison.lines] == [
        row[0].text for row in tables.settings(comparison).rows
    ]
    assert "optimizer.lr=0.1" in tables.settings(comparison).notes[0].text


def test_protocols_without_a_common_column_share_a_line() -> None:
    five = episode(shot=5, train={"way": 20, "shot": 5, "query": 5})
    assert table(result(), result(0.97, episode=five)) == [["prototypical", "90.00 ± 0.80 a", "97.00 ± 0.80 b"]]
    both = table(result(), result(0.97, episode=five), result(0.95, episode=episode(shot=5)))
    assert both == [["prototypical", "90.00 ± 0.80 a", "95.00 ± 0.80 a"], ["prototypical", "no run", "97.00 ± 0.80 b"]]


def test_missing_and_failed_cells_are_shown_as_such() -> None:
    rows = table(
        result(seed=0),
        result(seed=1),
        result(None, seed=2, status="failed"),
        result(0.97, episode=episode(shot=5)),
        result(None, algorithm="maml", status="interrupted", episode=episode(shot=5)),
    )
    assert rows == [
        ["prototypical", "90.00 ± 0.00 (2 seeds, 1 failed)", "97.00 ± 0.80 (1 seed)"],
        ["maml", "no run", "1 interrupted"],
    ]


def test_the_details_have_the_speed_of_trained_runs_and_the_parameters_of_any_run() -> None:
    comparison = compared(
        result(None, seed=0, status="failed", num_parameters=None),
        result(seed=1, steps=1000, seconds={"fit": 100.0, "test": 8.0}),
        result(seed=2, steps=5000, seconds={"fit": None, "test": 8.0}),  # a test of a longer training
    )
    (row,) = tables.details(comparison).rows
    assert [cell.text for cell in row[-3:-1]] == ["10.0", "111,936"]
    (slow,) = tables.details(compared(result(steps=12, seconds={"fit": 300.0, "test": 8.0}))).rows
    assert slow[-3].text == "0.04"


def test_the_same_seed_counts_once_and_completed_ones_first() -> None:
    again = result(0.8, overrides=["seed=0", "mode=test", "checkpoint=best.ckpt", "trainer.log_every_n_steps=1"])
    comparison = compared(result(0.9), again, result(None, status="failed"))
    assert [cell.means for cell in comparison.cells] == [[0.8]]
    assert comparison.num_repeated == 2
    lines = [note.text for sheet in tables.all_sheets(contents(comparison)) for note in sheet.notes]
    assert "2 runs repeat the seed of another run" in lines


def test_of_a_seed_a_completed_run_counts_before_a_training_and_that_before_the_last() -> None:
    test_alone = {"fit": None, "test": 8.0}
    for runs_of_seed, mean in (
        ([result(0.9), result(0.8, seconds=test_alone)], 0.9),
        ([result(None, status="failed"), result(0.8, seconds=test_alone)], 0.8),
        ([result(0.9), result(0.7)], 0.7),
    ):
        (cell,) = compared(*runs_of_seed).cells
        assert cell.means == [mean]


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ({"seed": 1}, {"seed": 2}, "seed"),
        ({"fold": 1}, {"fold": 2}, "fold"),
        ({"class_split": 1}, {"class_split": 2}, "class split"),
        ({"seed": 1, "fold": 1}, {"seed": 2, "fold": 2}, "run"),
    ],
)
def test_runs_of_other_seeds_folds_and_class_splits_all_count(
    first: dict[str, int], second: dict[str, int], name: str
) -> None:
    (cell,) = compared(result(0.5, **first), result(0.7, **second)).cells
    assert (cell.means, cell.repeats) == ([0.5, 0.7], name)


def test_checkpoints_of_one_run_are_protocols_of_their_own() -> None:
    def tested(checkpoint: str, mean: float, **fields: Any) -> dict[str, Any]:
        overrides = [f"seed={fields.get('seed', 0)}", "mode=test", f"checkpoint={checkpoint}"]
        return result(mean, overrides=overrides, seconds={"fit": None, "test": 8.0}, **fields)

    last = [tested(f"runs/{seed}/checkpoints/last.ckpt", mean, seed=seed) for seed, mean in enumerate([0.6, 0.8])]
    best = [tested(checkpoint, 0.9) for checkpoint in ("'runs/0/checkpoints/best.ckpt'", "runs/0")]
    comparison = compared(result(0.9), *best, *last, tested("'runs/0/checkpoints/step8.ckpt'", 0.5))
    assert {cell.protocol.checkpoint: cell.means for cell in comparison.cells} == {
        "": [0.9],
        "last.ckpt": [0.6, 0.8],
        "step8.ckpt": [0.5],
    }
    notes = " ".join(note.text for note in tables.settings(comparison).notes if note.mark)
    assert "episodes, weights of step8.ckpt" in notes
    assert comparison.num_repeated == 2


def test_a_regression_is_trained_on_points() -> None:
    train = {"way": 1, "shot": [5, 10], "query": 10}
    (cell,) = compared(regression(0.5, episode=episode(way=1, shot=10, train=train))).cells
    assert cell.protocol.trained == "5 to 10 support points, 10 query points"


def test_a_regression_is_better_the_lower_it_is() -> None:
    failed = result(None, algorithm="boil", dataset="sinusoid", status="failed")
    rows = table(regression(0.5), regression(0.25, algorithm="anil"), failed)
    assert [row[:2] for row in rows] == [
        ["anil", "0.2500 ± 0.0100 (1 seed)"],
        ["maml", "0.5000 ± 0.0100 (1 seed)"],
        ["boil", "1 failed"],
    ]


def test_a_run_that_diverged_is_in_no_average() -> None:
    diverged = [regression(None, seed=2), regression(None, algorithm="anil")]
    comparison = compared(regression(0.4, seed=0), regression(0.6, seed=1), *diverged)
    assert [[cell.text for cell in row] for row in tables.settings(comparison).rows] == [
        ["maml", f"0.5000 ± {12.706 * 0.1:.4f} (2 seeds, 1 diverged)"],
        ["anil", "1 diverged"],
    ]
    assert comparison.cells[0].score_by_step() == pytest.approx([3.0, 0.5])
    rows = tables.not_completed(contents(comparison)).rows
    assert [[cell.text for cell in row] for row in rows] == [
        ["diverged", f"run{i}", "its loss or score on meta-test is not finite"] for i in (2, 3)
    ]


def test_a_loss_that_is_no_number_is_no_result_at_chance() -> None:
    chance = {"mean": 0.2, "std": 0.0, "ci95": 0.0, "num_episodes": 100}
    lost = {"mean": None, "std": None, "ci95": None, "num_episodes": 100}
    rows = table(result(), result(algorithm="maml", test={"accuracy": chance, "loss": lost}))
    assert rows == [["prototypical", "90.00 ± 0.80 (1 seed)"], ["maml", "1 diverged"]]


def test_runs_are_found_once_and_unfinished_ones_are_told(tmp_path: Path) -> None:
    leave(tmp_path / "sweep/0", result())
    (tmp_path / "sweep/1/.hydra").mkdir(parents=True)
    found = find([tmp_path, tmp_path / "sweep", tmp_path / "sweep/0"])
    assert [run.folder for run in found.runs] == [tmp_path / "sweep/0"]
    assert found.unfinished == [tmp_path / "sweep/1"]


def test_runs_behind_links_and_in_folders_of_any_name_are_found_once(tmp_path: Path) -> None:
    inside = leave(tmp_path / "outputs/sweep/0", result())
    leave(tmp_path / "outputs/wandb/checkpoints/0", result())
    leave(inside / "wandb/copy", result())  # W&B keeps copies of files in a run directory
    elsewhere = leave(tmp_path / "elsewhere/1", result())
    (elsewhere / "back").symlink_to(tmp_path / "outputs")
    (tmp_path / "outputs/latest").symlink_to(inside)
    (tmp_path / "outputs/moved").symlink_to(tmp_path / "elsewhere")
    places = {run.folder.relative_to(tmp_path / "outputs").as_posix() for run in find([tmp_path / "outputs"]).runs}
    assert places == {"sweep/0", "wandb/checkpoints/0", "moved/1"}


def test_other_settings_and_other_data_are_columns_of_their_own(tmp_path: Path) -> None:
    more = {"20w1s": result(0.5)["test"], "5w1s": result(0.9)["test"]}
    folder = leave(tmp_path / "run", result(0.9, evaluations=more), np.full(5, 0.9), steps=20)
    np.savez(folder / "test_episodes_20w1s.npz", accuracy=np.full(100, 0.5))
    leave(tmp_path / "other", result(0.3, test_dataset="mnist", overrides=["dataset@test_dataset=mnist"]))
    found = find([tmp_path]).runs
    assert {str(cell.column): cell.mean for cell in compare(found).cells} == {
        "glyphs 5-way 1-shot": 0.9,
        "glyphs 20-way 1-shot": 0.5,
        "mnist 5-way 1-shot": 0.3,
    }
    twenty = next(run for run in found if run.setting == "20w1s")
    assert twenty.episode_scores().tolist() == [0.5] * 100
    assert twenty.validations("accuracy") == ()  # the run's own validations are drawn once


def test_a_repeated_run_counts_once_with_all_its_settings(tmp_path: Path) -> None:
    more = {"20w1s": result(0.5)["test"], "5w5s": result(0.9)["test"]}
    for name in ("first", "second"):
        leave(tmp_path / name, result(0.9, evaluations=more))
    assert compare(find([tmp_path]).runs).num_repeated == 1


def test_folders_without_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no result.json below"):
        find([tmp_path])


def test_what_a_run_writes_can_be_read(metalearn) -> None:
    finished = metalearn("published={accuracy: 0.9, source: nobody}")
    comparison = compare(find([finished.folder]).runs)
    (cell,) = comparison.cells
    assert cell.mean == finished.test["accuracy"]["mean"]
    assert cell.episode_scores() is not None and cell.episode_scores().mean() == pytest.approx(cell.mean)
    assert [validation.step for validation in cell.runs[0].validations("accuracy")] != []
    assert cell.published is not None and cell.published.source == "nobody"
    assert pairs(comparison) == []
