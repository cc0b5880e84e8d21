"""Reports of evaluations beside the accuracy and of cross-validation."""

import csv
from typing import Any

import pytest
from run_folders import contents, result, runs

from metalearn.report.comparing.comparison import compare
from metalearn.report.export import write
from metalearn.report.page import page
from metalearn.report.plots import curves
from metalearn.report.tables import further, tables


def open_set(auroc: float, name: str = "open_set") -> dict[str, Any]:
    score = {"mean": auroc, "std": 0.1, "ci95": 0.02, "num_episodes": 100}
    curve = {"x_name": "false", "y_name": "true", "x": [0.0, 0.5, 1.0], "y": [0.0, auroc, 1.0]}
    return {"name": name, "scores": {"auroc": score}, "curve": curve}


def test_scores_stand_beside_the_accuracy_with_their_interval() -> None:
    comparison = compare(runs(result(0.9, further=open_set(0.75)), result(0.8, algorithm="siamese")))
    (sheet,) = further.sheets(comparison)
    assert sheet.head[-2:] == ["accuracy %", "auroc %"]
    assert [[cell.text for cell in row] for row in sheet.rows] == [
        ["prototypical", "glyphs 5-way 1-shot", "90.00", "75.00 ± 2.00"]
    ]
    seeds = compare(runs(*(result(seed=seed, further=open_set(auroc)) for seed, auroc in enumerate([0.7, 0.8]))))
    assert further.sheets(seeds)[0].rows[0][-1].text == "75.00 ± 63.53"  # 12.706 * 0.0707 / sqrt(2)


def test_a_score_that_no_run_of_a_row_has_is_a_dash() -> None:
    other = open_set(0.75)
    other["scores"] = {"accuracy_of_known": other["scores"]["auroc"]}
    comparison = compare(runs(result(further=open_set(0.6)), result(0.8, algorithm="siamese", further=other)))
    (sheet,) = further.sheets(comparison)
    assert [[cell.text for cell in row[-2:]] for row in sheet.rows] == [["60.00 ± 2.00", "-"], ["-", "75.00 ± 2.00"]]


def test_the_page_has_the_table_and_the_curve() -> None:
    text = page(contents(compare(runs(result(further=open_set(0.75))))))
    assert "Evaluation: open_set" in text
    assert "open_set on glyphs 5-way 1-shot" in text
    assert "Evaluations beside" not in page(contents(compare(runs(result()))))


@pytest.mark.parametrize(("y", "num_points"), [([0.5, None, 1.0], 2), ([None, None, None], 0)])
def test_a_curve_is_drawn_where_it_is_a_number(y: list[float | None], num_points: int) -> None:
    given = open_set(0.75)
    given["curve"]["y"] = y
    plots = curves.further(compare(runs(result(further=given))))
    paths = [curve.path for plot in plots for curve in plot.curves]
    assert "nan" not in "".join(paths)
    assert sum(path.count(" ") for path in paths) == num_points


def test_each_evaluation_of_one_run_has_its_table_and_its_plot_beside_the_training() -> None:
    def tested(name: str, auroc: float, mean: float = 0.9) -> dict[str, Any]:
        overrides = ["mode=test", "checkpoint=run", f"evaluation={name}"]
        return result(mean, further=open_set(auroc, name), overrides=overrides, seconds={"fit": None, "test": 8.0})

    training = result(seconds={"fit": 60.0, "test": 8.0})
    again = tested("open_set", 0.5, mean=0.8)
    comparison = compare(runs(training, again, tested("open_set", 0.75), tested("retrieval", 0.6)))
    assert [(sheet.title, sheet.rows[0][-2].text, sheet.rows[0][-1].text) for sheet in further.sheets(comparison)] == [
        ("Evaluation: open_set", "90.00", "75.00 ± 2.00"),
        ("Evaluation: retrieval", "90.00", "60.00 ± 2.00"),
    ]
    assert [plot.title.split()[0] for plot in curves.further(comparison)] == ["open_set", "retrieval"]
    assert [run.result.seconds.fit for cell in comparison.cells for run in cell.runs] == [60.0]
    assert comparison.num_repeated == 1
    assert "3 completed" in page(contents(comparison))


def test_the_accuracy_beside_an_evaluation_is_that_of_its_runs() -> None:
    measured = result(0.7, seed=1, further=open_set(0.75))
    (sheet,) = further.sheets(compare(runs(result(0.9), measured)))
    assert sheet.rows[0][2].text == "70.00"


def test_settings_of_an_evaluation_are_averaged_apart() -> None:
    def unknown(count: int, auroc: float) -> dict[str, Any]:
        overrides = ["evaluation=open_set", f"evaluation.further.unknown={count}", "evaluation.settings=[]"]
        return result(seed=count, further=open_set(auroc), overrides=overrides)

    comparison = compare(runs(unknown(1, 0.6), unknown(5, 0.9)))
    assert sorted(row[-1].text for row in further.sheets(comparison)[0].rows) == ["60.00 ± 2.00", "90.00 ± 2.00"]
    notes = sorted(note.text for note in tables.protocols(comparison) if note.mark)
    assert notes == ["evaluation.further.unknown=1", "evaluation.further.unknown=5"]


def test_folds_are_averaged_as_seeds_are_and_apart_from_other_runs() -> None:
    def fold(index: int, mean: float) -> dict[str, Any]:
        made = result(mean, fold=index, overrides=["evaluation=crossval", f"evaluation.fold={index}"])
        return made | {"test": made["test"] | {"episodes_sha256": f"{index}" * 16}}

    folds = compare(runs(*(fold(index, mean) for index, mean in enumerate([0.7, 0.8, 0.9]))))
    (cell,) = folds.cells
    assert cell.mean == pytest.approx(0.8)
    assert not cell.protocol.other_episodes
    assert "3 folds each" in tables.protocols(folds)[0].text
    assert len(compare(runs(fold(0, 0.7), result(0.9))).cells) == 2


def test_class_splits_are_averaged_as_folds_are() -> None:
    def on_split(number: int, mean: float, algorithm: str = "prototypical", **fields: Any) -> dict[str, Any]:
        overrides = [f"dataset.fold={number}"] if number > 1 else []
        made = result(mean, dataset="liu", algorithm=algorithm, class_split=number, overrides=overrides, **fields)
        return made | {"test": made["test"] | {"episodes_sha256": f"{number}" * 16}}

    splits = compare(runs(*(on_split(number, mean) for number, mean in enumerate([0.7, 0.8, 0.9], start=1))))
    (cell,) = splits.cells
    assert cell.mean == pytest.approx(0.8) and cell.repeats == "class split"
    assert not cell.protocol.other_episodes and not cell.protocol.overrides
    assert "class splits 1, 2, 3; 3 class splits each" in tables.protocols(splits)[0].text
    others = compare(runs(on_split(1, 0.9), on_split(2, 0.8, "siamese"), on_split(3, 0.7, "siamese")))
    assert sorted(cell.protocol.class_splits for cell in others.cells) == [(1,), (2, 3)]
    said = sorted(note.text.rpartition("episodes, ")[2] for note in tables.protocols(others) if note.mark)
    assert said == ["class split 1", "class splits 2, 3"]
    (both,) = compare(runs(*(on_split(number, 0.8, seed=seed) for number in (1, 2) for seed in (0, 1)))).cells
    assert (both.repeats, len(both.completed)) == ("run", 4)
    (of_seeds,) = compare(runs(*(on_split(3, 0.8, seed=seed) for seed in (0, 1)))).cells
    assert of_seeds.repeats == "seed"
    whole = on_split(1, 0.8) | {"class_split": None}
    assert len(compare(runs(whole, on_split(1, 0.8), on_split(2, 0.8))).cells) == 2


def fold(index: int, *, seed: int = 0, **fields: Any) -> dict[str, Any]:
    """Returns the result of a fold, which the seed deals: no other run has its test episodes."""
    made = result(0.8, fold=index, seed=seed, **fields)
    return made | {"test": made["test"] | {"episodes_sha256": f"{seed}{index}" * 8}}


SEEDS = [result(algorithm="siamese", seed=seed) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("results", "together", "each"),
    [
        (SEEDS, "seed", ["seed"]),
        ([fold(0), fold(1)], "fold", ["fold"]),
        ([fold(0), fold(1), fold(0, seed=1), fold(1, seed=1)], "run", ["run"]),
        ([*SEEDS, fold(0), fold(1)], "run", ["seed", "fold"]),
    ],
)
def test_intervals_are_over_what_the_runs_of_a_cell_differ_in(results, together, each, tmp_path) -> None:
    comparison = compare(runs(*results))
    assert [cell.repeats for cell in comparison.cells] == each
    for sheet in (tables.settings(comparison), tables.details(comparison)):
        assert any(f"over the {together}s where there are several" in note.text for note in sheet.notes)
    assert f"{together}s" in tables.details(comparison).head
    write(tmp_path, contents(comparison))
    with (tmp_path / "report.csv").open() as file:
        assert [row["interval_over"] for row in csv.DictReader(file)] == [f"{repeats}s" for repeats in each]


def test_a_cell_with_a_failed_run_counts_its_own_repeats() -> None:
    failed = fold(2) | {"status": "failed", "test": None}
    rows = tables.settings(compare(runs(*SEEDS, fold(0), fold(1), failed))).rows
    assert any(row[1].text.endswith("(2 folds, 1 failed)") for row in rows)
