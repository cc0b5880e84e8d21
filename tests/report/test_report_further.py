"""Reports of evaluations beside the accuracy and of cross-validation."""

from typing import Any

import pytest
from run_folders import contents, result, runs

from metalearn.report import further, tables
from metalearn.report.comparison import compare
from metalearn.report.page import page


def open_set(auroc: float) -> dict[str, Any]:
    score = {"mean": auroc, "std": 0.1, "ci95": 0.02, "num_episodes": 100}
    curve = {"x_name": "false", "y_name": "true", "x": [0.0, 0.5, 1.0], "y": [0.0, auroc, 1.0]}
    return {"name": "open_set", "scores": {"auroc": score}, "curve": curve}


def test_scores_stand_beside_the_accuracy_with_their_interval() -> None:
    comparison = compare(runs(result(0.9, further=open_set(0.75)), result(0.8, algorithm="siamese")))
    (sheet,) = further.sheets(comparison)
    assert sheet.head[-2:] == ["accuracy %", "auroc %"]
    assert [[cell.text for cell in row] for row in sheet.rows] == [
        ["prototypical", "glyphs 5-way 1-shot", "90.00", "75.00 ± 2.00"]
    ]
    seeds = compare(runs(*(result(seed=seed, further=open_set(auroc)) for seed, auroc in enumerate([0.7, 0.8]))))
    assert further.sheets(seeds)[0].rows[0][-1].text == "75.00 ± 63.53"  # 12.706 * 0.0707 / sqrt(2)


def test_the_page_has_the_table_and_the_curve() -> None:
    text = page(contents(compare(runs(result(further=open_set(0.75))))))
    assert "Evaluation: open_set" in text
    assert "open_set on glyphs 5-way 1-shot" in text
    assert "Evaluations beside" not in page(contents(compare(runs(result()))))


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
