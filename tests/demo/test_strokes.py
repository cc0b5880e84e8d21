"""Strokes as images: as the data set draws them, wherever and however large one draws."""

import numpy as np
import pytest

from metalearn.data import glyphs, pen
from metalearn.demo.strokes import STYLES, Style, rasterised, style_of

LETTER = [np.array([[0.2, 0.2], [0.2, 0.8], [0.6, 0.8]]), np.array([[0.2, 0.5], [0.5, 0.5]])]
CHARACTERS = [(alphabet, character) for alphabet in range(10) for character in range(3)]


def paths(alphabet: int, character: int) -> np.ndarray:
    """Draws the strokes of a character of the data set, without an unsteady hand: (K, P, 2)."""
    style = glyphs.invent_alphabet(np.random.default_rng([0, alphabet]))
    program = glyphs.invent_character(np.random.default_rng([0, alphabet, character + 1]), style)
    return pen.trace(program.strokes[None], program.hosts, program.joints[None], style.softness)[0]


@pytest.mark.parametrize(("alphabet", "character"), CHARACTERS[::5])
def test_paths_of_the_data_set_become_its_image(alphabet: int, character: int) -> None:
    drawn = paths(alphabet, character)
    centred, extent = pen.centred(drawn[None])
    expected = pen.ink(centred * 0.66 / extent.max(), np.array([0.03]), 28, 28)[0]
    ours = rasterised(drawn, STYLES["glyphs"], 28, 28)
    assert np.abs(ours.astype(float) - expected).mean() < 3


def test_drawings_have_the_ink_and_the_size_of_the_data_set() -> None:
    ours = np.stack([rasterised(paths(*number), STYLES["glyphs"], 28, 28) for number in CHARACTERS])
    theirs = np.concatenate([glyphs.draw(0, *number, 10, 28, 28) for number in CHARACTERS])

    def size(images: np.ndarray) -> float:
        return float(np.mean([max(np.ptp(places) for places in np.nonzero(image > 127)) for image in images]))

    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.1)
    assert size(ours) == pytest.approx(size(theirs), rel=0.07)


@pytest.mark.parametrize("dataset", STYLES)
@pytest.mark.parametrize("change", ["moved", "smaller", "backwards", "more points", "another order"])
def test_only_the_shape_counts(dataset: str, change: str) -> None:
    middle = np.linspace(0, 1, 30)[:, None]
    others = {
        "moved": [stroke + np.array([0.3, -0.1]) for stroke in LETTER],
        "smaller": [0.4 * stroke for stroke in LETTER],
        "backwards": [stroke[::-1] for stroke in LETTER],
        "more points": [LETTER[0], (1 - middle**2) * LETTER[1][0] + middle**2 * LETTER[1][1]],
        "another order": LETTER[::-1],
    }
    ours, theirs = (rasterised(strokes, STYLES[dataset], 28, 28).astype(float) for strokes in (LETTER, others[change]))
    assert np.abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("dataset", STYLES)
def test_a_pen_is_as_wide_as_its_style(dataset: str) -> None:
    style = STYLES[dataset]
    line = rasterised([np.array([[0.5, 0.1], [0.5, 0.9]])], style, 200, 200)
    assert (line[100] > 127).sum() == pytest.approx(2 * style.pen * 200, abs=1.5)
    assert np.ptp(np.nonzero(line > 127)[0]) == pytest.approx(style.size * 200, abs=2 * style.pen * 200)


@pytest.mark.parametrize(
    "strokes",
    [
        [np.array([[0.5, 0.5]])],
        [np.array([[0.5, 0.5], [0.5, 0.5]])],
        [*LETTER, np.array([[0.9, 0.1]])],
        [np.random.default_rng(0).random((2000, 2))],
    ],
    ids=["tap", "tap of two points", "letter and dot", "scribble"],
)
def test_any_drawing_leaves_ink_inside_the_frame(strokes) -> None:
    for style in STYLES.values():
        image = rasterised(strokes, style, 28, 28)
        assert image.shape == (28, 28) and image.max() > 127
        assert max(image[[0, -1]].max(), image[:, [0, -1]].max()) == 0


def test_a_dot_adds_ink() -> None:
    style = Style(0.66, 0.03)
    with_dot = rasterised([*LETTER, np.array([[0.5, 0.3]])], style, 28, 28)
    assert with_dot.sum() > rasterised(LETTER, style, 28, 28).sum() + 255


def test_other_data_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="trained on mini_imagenet: the demo needs a run on glyphs or omniglot"):
        style_of("mini_imagenet")
