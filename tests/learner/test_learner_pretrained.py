"""A learner that nobody trained: pretrained weights, and a head without any."""

from pathlib import Path

import numpy as np
import pytest
from messy_folder import drawing

from metalearn import Learner

pytest.importorskip("efficientnet_lite_pytorch")

NUMBERS = (0, 8, 16)  # a red triangle, a green square, a blue pentagon
SUPPORT = [drawing(number, seed) for number in NUMBERS for seed in (0, 1)], [*"aabbcc"]
QUERIES = [drawing(number, seed) for number in NUMBERS for seed in (2, 3)], [*"aabbcc"]


@pytest.fixture(scope="module")
def ours() -> Learner:
    return Learner.pretrained("efficientnet_lite0").fit(*SUPPORT)


def test_it_tells_shapes_apart_without_training(ours: Learner) -> None:
    assert ours.score(*QUERIES) == 1
    assert ours.explain(SUPPORT[0][2])[0].row == 2


def test_it_can_be_saved(ours: Learner, tmp_path: Path) -> None:
    ours.save(tmp_path / "shapes.pt")
    again = Learner.load(tmp_path / "shapes.pt")
    np.testing.assert_allclose(again.predict_proba(QUERIES[0]), ours.predict_proba(QUERIES[0]), atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "head", "message"),
    [
        ("efficientnet", "simple_shot", "no backbone 'efficientnet'; choose from .*efficientnet_lite0"),
        ("efficientnet_lite0", "../backbone/conv4", "no algorithm"),
        ("conv4", "simple_shot", "random before training"),
        ("efficientnet_lite0", "r2d2", "weights that a training must find"),
        ("efficientnet_lite0", "distribution_calibration", "needs to know base classes"),
        ("efficientnet_lite0", "maml", "^maml needs episode.train.way, which only a run has: train it"),
        ("efficientnet_lite0", "anil", "cannot be built without a run: its config extends that of another algorithm"),
    ],
)
def test_what_needs_a_training_says_so_in_a_line(backbone: str, head: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Learner.pretrained(backbone, head=head)
    assert "\n" not in str(caught.value)
