"""Omniglot with errors: settings, missing and damaged files."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from omniglot_files import PATTERNS, drawings, load, png, refusal, write_zips

from metalearn.data.omniglot import Omniglot


def test_settings_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="^omniglot: unknown split 'ravi'; choose from lake, lake_small1, lake_small2, vinyals$"
    ):
        load(tmp_path, tmp_path, split="ravi")
    for shape, rotations, message in (([3, 28, 28], False, "1 channel"), ([1, 28, 20], True, "square")):
        with pytest.raises(ValueError, match=f"^omniglot: .*{message}"):
            Omniglot("", cache="", split="lake", rotations=rotations, input_shape=shape, url="")


def test_missing_data_says_what_to_put_where(tmp_path: Path) -> None:
    message = refusal(tmp_path, tmp_path)
    assert "images_background is missing; put images_background.zip or images_background into" in message
    assert str(tmp_path) in message and "refused" in message
    assert list(tmp_path.iterdir()) == []


def test_missing_characters_and_drawings_are_named(tmp_path: Path) -> None:
    def without(folder: str, beginning: str) -> str:
        rest = {name: content for name, content in drawings().items() if not name.startswith(beginning)}
        return refusal(write_zips(tmp_path / folder, rest), tmp_path)

    message = without("character", "images_background/Greek/character05/")
    assert "images_background.zip has 963 of 964 characters" in message
    assert message.endswith("missing Greek/character05")
    message = without("alphabet", "images_evaluation/Tengwar/")
    assert "images_evaluation.zip has 634 of 659 characters" in message
    assert message.endswith("missing Tengwar/character01, Tengwar/character02, Tengwar/character03 ...")
    first = next(name for name in drawings() if "/Greek/character05/" in name)
    assert without("drawing", first).endswith("Greek/character05 has 19 of 20 drawings")
    extra = drawings() | {"images_background/Klingon/character01/0001_01.png": PATTERNS[0]}
    message = refusal(write_zips(tmp_path / "extra", extra), tmp_path)
    assert "has Klingon/character01, which is not a character" in message


def test_damaged_zips_are_named(tmp_path: Path) -> None:
    write_zips(tmp_path, drawings())
    path = tmp_path / "images_background.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:100_000])
    assert f"cannot read {path} (File is not a zip file); replace it" in refusal(tmp_path, tmp_path)
    path.write_bytes(whole.replace(b"IDAT", b"IDAX", 1))
    assert "Bad CRC-32 for file 'images_background/" in refusal(tmp_path, tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images_background/../../evil.png", PATTERNS[0])
    assert "would be written outside its folder" in refusal(tmp_path, tmp_path)
    assert not list(tmp_path.parent.glob("evil*")) and not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"no image", id="text"),
        pytest.param(PATTERNS[0][:60], id="truncated"),
        pytest.param(png(np.ones((28, 28), bool)), id="small"),
    ],
)
def test_damaged_drawings_are_named(tmp_path: Path, content: bytes) -> None:
    name = next(iter(drawings()))
    message = refusal(write_zips(tmp_path, drawings() | {name: content}), tmp_path / "cache")
    assert name.split("/", 1)[1] in message and message.endswith("is damaged: no PNG image of 105 x 105 pixels")
