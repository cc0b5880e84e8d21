"""Validations in metrics.csv, as a report, a search and the state of a sweep read them."""

from pathlib import Path

import pytest

from metalearn.run.directory.validations import validation_curve
from metalearn.sweep.standing import Best, best_so_far


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,val/accuracy\n10,0.5\n20,0.\x00x\n30,nan\n40,0.75\n50,0.9")
    return path


def test_damaged_rows_cost_nothing_but_themselves(metrics: Path) -> None:
    found = validation_curve(metrics, ["accuracy"])
    assert [(row.step, row.score) for row in found.validations] == [(10, 0.5), (40, 0.75)]
    assert found.damage == f"{metrics}: lines 3 and 1 more are torn and left out"


def test_a_sweep_shows_the_best_intact_row(metrics: Path) -> None:
    assert best_so_far(metrics) == Best("accuracy", 0.75)
    assert best_so_far(metrics.with_name("none.csv")) is None
