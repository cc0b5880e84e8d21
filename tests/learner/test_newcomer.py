"""Path of a newcomer in two commands: training on a messy folder, then sorting new classes."""

import csv
from pathlib import Path

import pytest
from conftest import Finished
from messy_folder import CLASSES, KINDS, write

from metalearn.predict.__main__ import main

QUICK = [
    "dataset=folder",
    "dataset.input_shape=[3,16,16]",
    "backbone.channels=8",
    "backbone.pools=2",
    "episode.train.way=5",
    "episode.train.query=2",
    "episode.val.query=2",
    "episode.test.query=2",
    "episode.val.way=3",
    "episode.test.way=3",
    "episode.val.num_episodes=3",
    "episode.test.num_episodes=3",
    "trainer.max_steps=4",
    "dataset.max_unreadable=0.02",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("messy")
    write(place, images=5, examples=2, new=2)
    return place


@pytest.fixture(scope="module")
def trained(metalearn, place: Path) -> Finished:
    return metalearn(*QUICK, f"dataset.root={place / 'known'}", small=False)


def test_the_first_lines_say_what_was_found_skipped_and_divided(trained: Finished, place: Path) -> None:
    assert trained.code == 0, trained.text
    said = " ".join(trained.text.split())
    assert "24 classes, 120 images; 1 file left out as unreadable" in said
    assert "Shape 00 (red)/broken.png" in said
    assert (
        "meta-train 15 classes, 75 images; meta-val 4 classes, 20 images; meta-test 5 classes, 25 images: drawn" in said
    )
    assert said.index("24 classes") < said.index("meta-train 15") < said.index("run directory")


def test_new_images_of_new_classes_are_sorted(trained: Finished, place: Path, tmp_path: Path, capsys) -> None:
    words = ["--support", place / "examples", "--query", place / "new", "--csv", tmp_path / "new.csv"]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in [trained.folder, *words, "--sort-into", tmp_path / "sorted"]])
    said = capsys.readouterr()
    assert ended.value.code == 0 and "12 images" in said.out and "1 unreadable left out" in said.out
    assert "broken.png" in said.err
    rows = list(csv.DictReader((tmp_path / "new.csv").open()))
    assert {row["label"] for row in rows} <= {path.name for path in (place / "examples").iterdir()}
    assert len(list((tmp_path / "sorted").rglob("*.*"))) == len(rows) == 12


def test_the_folder_is_as_messy_as_it_says(place: Path) -> None:
    files = [path.name for path in place.rglob("*.*") if path.is_file()]
    assert all(any(name.endswith(f".{kind}") for name in files) for kind in KINDS)
    assert len({path.parent.name for path in place.rglob("Shape*") if path.is_file()} - {"new"}) == CLASSES
