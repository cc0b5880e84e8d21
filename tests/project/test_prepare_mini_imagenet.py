"""The script that makes miniImageNet from ILSVRC2012."""

from pathlib import Path

import numpy as np
import prepare_mini_imagenet as script
import pytest
from PIL import Image
from tiny_images import CLASSES, NUM_IMAGES, SHAPE, encoded, pixels, write_csv_layout

from metalearn.data import mini_imagenet
from metalearn.data.files.image_array import open_banks


def test_the_script_picks_and_resizes_images_of_ilsvrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "SIZE", 12)
    root = write_csv_layout(tmp_path / "lists")
    ilsvrc, output = tmp_path / "ilsvrc", tmp_path / "output"
    numbers = [3, 20, 100, 1000, 7]  # sorted by name, 100 precedes 20; sorted by number, it follows
    for seed, name in enumerate(sum(CLASSES.values(), ())):
        (ilsvrc / name).mkdir(parents=True)
        for number in numbers:
            (ilsvrc / name / f"{name}_{number}.JPEG").write_bytes(encoded(pixels(seed + number, 40, 30)))
    assert script.prepare(ilsvrc, root, output) == 28
    assert script.prepare(ilsvrc, root, output) == 0
    plan = mini_imagenet.make_plan(output, CLASSES, NUM_IMAGES)
    banks = open_banks(tmp_path / "cache", "mini_imagenet", plan, SHAPE)
    for place, number in enumerate(sorted(numbers)[:NUM_IMAGES]):
        with Image.open(ilsvrc / f"n00000005/n00000005_{number}.JPEG") as image:
            expected = np.asarray(image.resize((12, 12), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
        np.testing.assert_array_equal(banks["val"].images[banks["val"].rows[1][place]], expected)
    with pytest.raises(ValueError, match="has no images such as n00000001_12.JPEG"):
        script.prepare(tmp_path, root, tmp_path / "other")
    for number in numbers[:2]:
        (ilsvrc / f"n00000001/n00000001_{number}.JPEG").unlink()
    with pytest.raises(ValueError, match="n00000001 has 3 images, so it has no number 4"):
        script.prepare(ilsvrc, root, tmp_path / "other")


def test_another_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("label,name\nn00000001,n0000000100000001.jpg\n")
    message = r"train.csv is not a CSV file of filename,label \(its first line is 'label,name'\)$"
    with pytest.raises(ValueError, match=message):
        script.prepare(tmp_path, tmp_path, tmp_path / "output")
