"""scripts/mean_over_folds.py: the mean of each method over the class splits of a data set."""

import math
import runpy
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from run_folders import leave, result

SCRIPT = str(REPOSITORY / "scripts/mean_over_folds.py")


def table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *folders: Path) -> str:
    monkeypatch.setattr("sys.argv", [SCRIPT, *map(str, folders)])
    runpy.run_path(SCRIPT, run_name="__main__")
    return capsys.readouterr().out


def leave_fold(folder: Path, fold: int, mean: float | None, **fields: object) -> None:
    leave(folder, result(mean, **fields))
    (folder / "hparams.yaml").write_text(yaml.safe_dump({"dataset": {"fold": fold}}))


def test_a_cell_is_the_mean_over_the_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    means = [0.5, 0.6, 0.7]
    for fold, mean in enumerate(means, start=1):
        leave_fold(tmp_path / f"sweep/{fold}", fold, mean, dataset="liu", backbone="bag_of_ngrams", steps=0)
    leave_fold(tmp_path / "other/0", 4, 0.9, dataset="liu", backbone="text_cnn", steps=150)
    leave_fold(tmp_path / "other/1", 5, None, dataset="liu", backbone="text_cnn", status="failed")
    half = 4.302653 * 0.1 / math.sqrt(3)  # Student's 97.5 % quantile of two degrees of freedom
    *_, over_splits, of_one = table(capsys, monkeypatch, tmp_path / "sweep", tmp_path / "other").splitlines()
    assert over_splits == f"| `prototypical` | `bag_of_ngrams` | 0 | 60.0 ± {100 * half:.1f} (3 splits) |"
    assert of_one == "| `prototypical` | `text_cnn` | 150 | 90.0 ± 0.8 (split 4) |"


def test_runs_of_one_row_and_split_are_not_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for job, distance in enumerate(("cosine", "squared_euclidean")):
        leave_fold(tmp_path / f"{job}", 2, 0.5, dataset="liu", overrides=[f"algorithm.distance={distance}"])
    with pytest.raises(SystemExit, match=f"{tmp_path}/1 and another run are the same row on split 2"):
        table(capsys, monkeypatch, tmp_path)


def test_a_run_without_a_class_split_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path / "0", result(0.5))
    (tmp_path / "0/hparams.yaml").write_text("dataset: {num_alphabets: [3, 1, 1]}\n")
    with pytest.raises(SystemExit, match=f"^mean_over_folds: {tmp_path}/0 has no class split, as glyphs has none"):
        table(capsys, monkeypatch, tmp_path)


def test_a_directory_without_runs_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="hold no completed run"):
        table(capsys, monkeypatch, tmp_path)
