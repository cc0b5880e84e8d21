"""The picture of a test episode, and where it goes."""

import numpy as np
import torch
from conftest import episode
from PIL import Image

from metalearn.run.picture import FRAME, GAP, RIGHT, SIZE, WRONG, confusion, picture

CELL = SIZE + 2 * FRAME


def test_frames_tell_right_answers_from_wrong_ones() -> None:
    task = episode(way=3, shot=2, query=4).tasks()[0]
    ways = task.query_y.argmax(-1)
    answers = ways.clone()
    answers[5] = (ways[5] + 1) % 3
    drawn = np.asarray(picture(task, answers))
    assert drawn.shape == (3 * CELL, 2 * CELL + GAP + 4 * CELL, 3)
    frames = [[tuple(drawn[c * CELL, 2 * CELL + GAP + q * CELL]) for q in range(4)] for c in range(3)]
    order = (ways[:6] == ways[5]).sum() - 1  # which of its class the sixth query is
    expected = [[WRONG if (c, q) == (ways[5], order) else RIGHT for q in range(4)] for c in range(3)]
    assert frames == expected


def test_the_images_are_those_of_the_episode() -> None:
    task = episode(way=2, shot=1, query=1, size=SIZE).tasks()[0]
    drawn = np.asarray(picture(task, task.query_y.argmax(-1)))
    shown = task.support_x[task.support_y.argmax(-1) == 1][0, 0].clamp(0, 1)
    expected = (shown * 255).round().byte().numpy()
    inside = slice(CELL + FRAME, 2 * CELL - FRAME), slice(FRAME, CELL - FRAME)
    for channel in range(3):
        np.testing.assert_array_equal(drawn[inside][..., channel], expected)


def test_a_confusion_counts_answers_by_class() -> None:
    ways, answers = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 2, 0, 2])
    assert confusion(ways, answers, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_a_run_leaves_the_picture_of_its_first_test_episode(metalearn) -> None:
    for algorithm in ("prototypical", "maml"):
        run = metalearn(f"algorithm={algorithm}")
        with Image.open(run.folder / "test_episode.png") as image:
            assert image.size == (CELL + GAP + 10 * CELL, 5 * CELL)  # 10 of the 15 queries
