"""The glyphs data set: a pure function of its numbers, disjoint splits, medium difficulty."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image

from metalearn.data import glyphs
from metalearn.data.bank import ClassBank
from metalearn.data.glyphs import Glyphs, draw
from metalearn.types import SPLITS, Split

DEFAULT = {
    "seed": 0,
    "input_shape": [1, 28, 28],
    "num_alphabets": [40, 8, 12],
    "characters": 20,
    "drawings": 20,
}
SMALL = DEFAULT | {"num_alphabets": [3, 1, 2], "characters": 4, "drawings": 5}


def build(cache: Path, **changes: object) -> Glyphs:
    return Glyphs(str(cache), **(SMALL | changes))  # type: ignore[arg-type]


def images_of(bank: ClassBank, name: str) -> np.ndarray:
    return bank.images[bank.rows[bank.names.index(name)]].numpy()


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> dict[Split, ClassBank]:
    """Draws the default data set with 8 alphabets of meta-train, the first of its 40."""
    numbers = DEFAULT | {"num_alphabets": [8, 8, 12]}
    return Glyphs(str(tmp_path_factory.mktemp("cache")), **numbers).load()  # type: ignore[arg-type]


def test_golden_drawing() -> None:
    """Pins the pixels of VERSION 1: a change of them needs a new version and a new hash."""
    digest = hashlib.sha256(draw(0, 2, 3, 6, 28, 28)[5].tobytes()).hexdigest()
    assert glyphs.VERSION == 1
    assert digest == "f92c2770e3852dbc05d4b4a27ffd25373c5189007f9f175d1872fc012fe08514"


def test_same_seed_same_pixels_other_seed_others(tmp_path: Path) -> None:
    hashes = [build(tmp_path / f"{i}", seed=seed).load()["test"].sha256() for i, seed in enumerate([0, 0, 1])]
    assert hashes[0] == hashes[1] != hashes[2]


def test_shapes_and_names(default: dict[Split, ClassBank]) -> None:
    for split, num_alphabets in zip(SPLITS, [8, 8, 12], strict=True):
        bank = default[split]
        assert bank.images.shape == (num_alphabets * 20 * 20, 1, 28, 28)
        assert bank.num_classes == num_alphabets * 20
        assert bank.smallest_class == 20
        assert all(re.fullmatch(r"alphabet\d{2,}/character\d{2,}", name) for name in bank.names)


def test_no_alphabet_is_in_two_splits(default: dict[Split, ClassBank]) -> None:
    train, val, test = ({name.split("/")[0] for name in default[split].names} for split in SPLITS)
    assert (len(train), len(val), len(test)) == (8, 8, 12)
    assert len(train | val | test) == 28


def test_no_two_drawings_are_equal(default: dict[Split, ClassBank]) -> None:
    drawings = np.concatenate([default[split].images.flatten(1).numpy() for split in SPLITS])
    assert len({drawing.tobytes() for drawing in drawings}) == len(drawings)


def test_a_class_does_not_depend_on_how_many_others_there_are(tmp_path: Path, default: dict[Split, ClassBank]) -> None:
    for split, bank in build(tmp_path).load().items():
        for name in bank.names:
            np.testing.assert_array_equal(images_of(bank, name), images_of(default[split], name)[:5])


@pytest.mark.parametrize("shape", [[1, 12, 12], [1, 28, 40], [1, 64, 32]])
def test_other_input_shapes(tmp_path: Path, shape: list[int]) -> None:
    source = build(tmp_path, input_shape=shape)
    assert source.input_shape == tuple(shape)
    images = source.load()["val"].images
    assert list(images.shape[1:]) == shape
    assert (images.amax(dim=(1, 2, 3)) > 100).all()


def test_ink_is_there_and_inside_the_frame(default: dict[Split, ClassBank]) -> None:
    for split in SPLITS:
        images = default[split].images[:, 0].numpy()
        assert images.max(axis=(1, 2)).min() == 255
        coverage = images.mean(axis=(1, 2)) / 255
        assert coverage.min() > 0.02
        assert coverage.max() < 0.4
        assert not images[:, [0, -1]].any(), "ink on the upper or lower border"
        assert not images[:, :, [0, -1]].any(), "ink on the left or right border"


def test_the_second_time_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(tmp_path).load()

    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("drawn again")

    monkeypatch.setattr(glyphs, "draw", refuse)
    second = build(tmp_path).load()
    assert [first[split].sha256() for split in SPLITS] == [second[split].sha256() for split in SPLITS]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"input_shape": [1, 14, 28]},
        {"num_alphabets": [3, 1, 1]},
        {"characters": 2},
        {"drawings": 2},
    ],
)
def test_whatever_changes_the_pixels_changes_the_file(tmp_path: Path, change: dict[str, object]) -> None:
    build(tmp_path).load()
    build(tmp_path, **change).load()
    assert len(list(tmp_path.iterdir())) == 2


def test_nearest_neighbour_of_raw_pixels_neither_fails_nor_solves_it(default: dict[Split, ClassBank]) -> None:
    """Scores 5-way 1-shot, 15 queries of each class, 200 episodes of meta-test; chance is 20 %."""
    bank, rng, scores = default["test"], np.random.default_rng(0), []
    pixels = bank.images.flatten(1).numpy() / 255  # (M, H W)
    for _ in range(200):
        classes = rng.choice(bank.num_classes, size=5, replace=False)
        rows = np.stack([rng.choice(bank.rows[c], size=16, replace=False) for c in classes])  # (5, 16)
        support, query = pixels[rows[:, 0]], pixels[rows[:, 1:]]  # (5, H W), (5, 15, H W)
        distance = ((query[:, :, None] - support) ** 2).sum(axis=-1)  # (5, 15, 5)
        scores.append((distance.argmin(axis=-1) == np.arange(5)[:, None]).mean())
    assert 0.30 < np.mean(scores) < 0.60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": [3, 28, 28]}, "^glyphs: images have 1 channel, but input_shape asks for 3$"),
        ({"input_shape": [28, 28]}, r"^glyphs: input_shape is \[28, 28\]; it must be \[channels, height, width\]$"),
        ({"input_shape": [1, 8, 28]}, "input_shape must be"),
        ({"num_alphabets": [4, 4]}, "num_alphabets must be"),
        ({"num_alphabets": [4, 0, 4]}, "num_alphabets must be"),
        ({"characters": 0}, "characters and drawings must be"),
        ({"drawings": -1}, "characters and drawings must be"),
        ({"seed": -1}, "seed must not be"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        build(tmp_path, **change)
    assert "\n" not in str(error.value)


def test_the_sheet_of_the_readme_is_there() -> None:
    path = REPOSITORY / "docs" / "glyphs.png"
    with Image.open(path) as sheet:
        assert sheet.width > 600
    assert path.stat().st_size < 150_000
