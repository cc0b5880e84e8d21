"""The picture of a test episode, and its destinations."""

import numpy as np
import pytest
import torch
from conftest import episode
from PIL import Image

from metalearn.data.bank import ClassBank
from metalearn.episodes.sampling import draw
from metalearn.episodes.setting import Shape
from metalearn.run.pictures import of_images as module
from metalearn.run.pictures.callback import class_names, confusion, title
from metalearn.run.pictures.of_images import CELL, FRAME, PAPER, RIGHT, SIZE, WRONG, label, picture

NAMES = ("a", "b", "c")


def cells(drawn: np.ndarray) -> dict[tuple[int, int], tuple[int, int]]:
    """Returns the top left corner of each query's frame, by row and column."""
    framed = [(drawn == colour).all(-1) for colour in (RIGHT, WRONG)]
    frames = framed[0] | framed[1]
    rows = [y for y in range(len(frames)) if frames[y].any()]
    columns = [x for x in range(frames.shape[1]) if frames[:, x].any()]
    tall, wide = (rows[-1] + 1 - rows[0]) // CELL, (columns[-1] + 1 - columns[0]) // CELL
    return {(i, j): (rows[0] + i * CELL, columns[0] + j * CELL) for i in range(tall) for j in range(wide)}


def test_frames_separate_right_answers_from_wrong_ones() -> None:
    task = episode(way=3, shot=2, query=4).tasks()[0]
    ways = task.query_y.argmax(-1)
    answers = ways.clone()
    answers[5] = (ways[5] + 1) % 3
    drawn = np.asarray(picture(task, answers, NAMES, ""))
    order = int((ways[:6] == ways[5]).sum()) - 1  # index of the sixth query within its class
    frames = {place: tuple(drawn[corner].tolist()) for place, corner in cells(drawn).items()}
    wrong = (int(ways[5]), order)
    assert frames == {(c, q): WRONG if (c, q) == wrong else RIGHT for c in range(3) for q in range(4)}


def test_the_images_are_those_of_the_episode() -> None:
    task = episode(way=2, shot=1, query=1, size=SIZE).tasks()[0]
    drawn = np.asarray(picture(task, task.query_y.argmax(-1), NAMES[:2], ""))
    shown = task.query_x[task.query_y.argmax(-1) == 1][0, 0].clamp(0, 1)
    expected = (shown * 255).round().byte().numpy()
    y, x = cells(drawn)[1, 0]
    for channel in range(3):
        inside = drawn[y + FRAME : y + FRAME + SIZE, x + FRAME : x + FRAME + SIZE, channel]
        np.testing.assert_array_equal(inside, expected)


@pytest.mark.parametrize("channels", [2, 4])
def test_images_of_other_channels_are_drawn_as_their_mean(channels: int) -> None:
    task = episode(way=2, shot=1, query=1, size=SIZE).tasks()[0]
    mixed = torch.rand(2, channels, SIZE, SIZE)
    answers = task.query_y.argmax(-1)
    means = task._replace(support_x=mixed.mean(1, keepdim=True), query_x=mixed.mean(1, keepdim=True))
    task = task._replace(support_x=mixed, query_x=mixed)
    assert picture(task, answers, NAMES[:2], "") == picture(means, answers, NAMES[:2], "")


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_the_digit_of_a_wrong_answer_is_orange_in_a_white_outline_on_any_image(grey: float) -> None:
    task = episode(way=2, shot=1, query=1, size=SIZE).tasks()[0]
    task = task._replace(query_x=torch.full_like(task.query_x, grey))
    ways = task.query_y.argmax(-1)
    drawn = np.asarray(picture(task, 0 * ways, NAMES[:2], ""))
    y, x = cells(drawn)[1, 0]
    digit = drawn[y + FRAME : y + FRAME + SIZE, x + FRAME : x + FRAME + SIZE]
    drawn_over = (digit != round(255 * grey)).any(-1)
    top, left, bottom, right = *np.argwhere(drawn_over).min(0), *np.argwhere(drawn_over).max(0)
    assert 14 <= bottom - top + 1 <= 28  # pixels, for legibility
    assert (digit == WRONG).all(-1).sum() > 20
    # A 0 is no filled disc.
    assert tuple(digit[(top + bottom) // 2, (left + right) // 2].tolist()) != WRONG
    if grey < 1:
        assert (digit == PAPER).all(-1).sum() > 50


def test_a_picture_has_a_title_heads_rows_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    write = module.ImageDraw.ImageDraw.text

    def text(self, place, words, *others, **more):
        said.append(words)
        return write(self, place, words, *others, **more)

    monkeypatch.setattr(module.ImageDraw.ImageDraw, "text", text)
    task = episode(way=3, shot=1, query=12).tasks()[0]
    ways = task.query_y.argmax(-1)
    answers = torch.where(torch.arange(36) < 9, (ways + 1) % 3, ways)
    picture(task, answers, ["cat", "Vögel", "Braille/" + "character" * 9], title(task, answers, 1))
    assert said[:3] == ["The second test episode: 27 of 36 queries right (75.00 %)", "support", "queries, 10 of 12"]
    assert {"0  cat", "1  Vogel"} <= set(said)
    (long,) = (words for words in said if words.startswith("2  "))
    assert "..." in long and len(long) < 40


def test_names_are_those_of_the_ways() -> None:
    rows = [np.arange(4) + 4 * c for c in range(5)]
    bank = ClassBank(torch.zeros(20, 1, 2, 2, dtype=torch.uint8), tuple(rows), tuple("abcde"))
    episode = draw(rows, Shape((1, 1, 1), (3, 0, 3)), seed=0, split="test", index=0)  # a class without queries
    first = {int(way): int(row) // 4 for row, way in zip(episode.support_rows, episode.support_ways, strict=True)}
    assert class_names(bank, episode) == ["abcde"[first[way]] for way in range(3)]


def test_letters_that_the_font_lacks_become_question_marks() -> None:
    assert label("Καφέ 漢") == "???? ?"


def test_a_confusion_counts_answers_by_class() -> None:
    ways, answers = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 2, 0, 2])
    assert confusion(ways, answers, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_a_run_draws_its_first_test_episode_and_draws_it_anew_after_more_steps(metalearn) -> None:
    run = metalearn("algorithm=maml", "optimizer.lr=0.5", "evaluation.settings=[5w2s]")
    path = run.folder / "test_episode.png"
    with Image.open(path) as image:
        drawn = np.asarray(image)
    assert len(cells(drawn)) == 5 * 10  # 10 of the 15 queries
    path.write_bytes(b"an older picture")
    again = metalearn(f"resume={run.folder}", "trainer.max_steps=12", small=False)
    assert again.code == 0, again.text
    with Image.open(path) as image:
        assert image.size == drawn.shape[1::-1]
