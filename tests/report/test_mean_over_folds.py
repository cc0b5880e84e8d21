"""scripts/mean_over_folds.py: the mean of each method over the class splits of a data set."""

import math
from pathlib import Path

import mean_over_folds
import pytest
from run_folders import leave, result


def table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *folders: Path) -> str:
    monkeypatch.setattr("sys.argv", ["mean_over_folds.py", *map(str, folders)])
    mean_over_folds.main()
    return capsys.readouterr().out


def test_a_cell_is_the_mean_over_the_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    means = [0.5, 0.6, 0.7]
    for fold, mean in enumerate(means, start=1):
        run = result(mean, dataset="liu", class_split=fold, backbone="bag_of_ngrams", steps=0)
        leave(tmp_path / f"sweep/{fold}", run)
    other = {"dataset": "liu", "backbone": "text_cnn"}
    leave(tmp_path / "other/0", result(0.9, class_split=4, steps=150, **other))
    leave(tmp_path / "other/1", result(None, class_split=5, status="failed", **other))
    half = 4.302653 * 0.1 / math.sqrt(3)  # Student's 97.5 % quantile of two degrees of freedom
    *_, over_splits, of_one = table(capsys, monkeypatch, tmp_path / "sweep", tmp_path / "other").splitlines()
    assert over_splits == f"| `prototypical` | `bag_of_ngrams` | 0 | 60.0 ± {100 * half:.1f} (3 splits) |"
    assert of_one == "| `prototypical` | `text_cnn` | 150 | 90.0 ± 0.8 (split 4) |"


def test_runs_of_one_row_and_split_are_not_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for job, distance in enumerate(("cosine", "squared_euclidean")):
        leave(tmp_path / f"{job}", result(0.5, class_split=2, overrides=[f"algorithm.distance={distance}"]))
    with pytest.raises(SystemExit, match=f"{tmp_path}/1 and another run are the same row on split 2"):
        table(capsys, monkeypatch, tmp_path)


def test_a_row_has_one_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in (1, 2):
        leave(tmp_path / f"{split}", result(0.5, class_split=split, config_sha256=str(split)))
    with pytest.raises(SystemExit, match=f"^mean_over_folds: {tmp_path}/2 has other settings than another run"):
        table(capsys, monkeypatch, tmp_path)


def test_a_run_without_an_accuracy_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path / "0", result(None, class_split=1))
    with pytest.raises(SystemExit, match=f"^mean_over_folds: {tmp_path}/0 has no accuracy on meta-test: leave it out"):
        table(capsys, monkeypatch, tmp_path)


def test_a_run_without_a_class_split_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path / "0", result(0.5))
    with pytest.raises(SystemExit, match=f"^mean_over_folds: {tmp_path}/0 has no class split, as glyphs has none"):
        table(capsys, monkeypatch, tmp_path)


def test_a_directory_without_runs_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=f"^mean_over_folds: there is no result.json below {tmp_path}"):
        table(capsys, monkeypatch, tmp_path)
    leave(tmp_path / "0", result(None, status="failed"))
    with pytest.raises(SystemExit, match="hold no completed run"):
        table(capsys, monkeypatch, tmp_path)
