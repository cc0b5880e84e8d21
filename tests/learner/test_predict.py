"""`python -m metalearn.predict`: answers for folders of images; no file is overwritten."""

import csv
import shutil
import weakref
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from learners import checkpoint, learner, pictures
from PIL import Image

from metalearn import Learner
from metalearn.data.files import any_image
from metalearn.data.files.preparation import Preparation
from metalearn.learner.images import prepared
from metalearn.predict.__main__ import main
from metalearn.predict.command import learn, reader_of
from metalearn.predict.files import to_be_sorted
from metalearn.predict.outputs import NONE, Answer, folder_name, folder_names, sort_into


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Builds a run, support/ and query/.

    support/ has three examples of each of four classes. query/ has two of each, and a broken file.
    """
    checkpoint(tmp_path)
    for count, seed, folder in ((3, 0, "support"), (2, 1, "query")):
        for number, (image, label) in enumerate(zip(*pictures(count, seed=seed), strict=True)):
            path = tmp_path / folder / (label if folder == "support" else "") / f"{label}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (tmp_path / "query/broken.PNG").write_bytes(b"no image")
    return tmp_path


def call(place: Path, capsys, *words: str, run: str = "prototypical.ckpt") -> tuple[int, str]:
    """Returns the exit code and the output of a command for the folders of `place`."""
    with pytest.raises(SystemExit) as ended:
        main([str(place / run), "--support", str(place / "support"), "--query", str(place / "query"), *words])
    said = capsys.readouterr()
    return ended.value.code, said.out + said.err


def test_every_image_gets_its_class_and_the_broken_file_is_named(place: Path, capsys) -> None:
    code, said = call(place, capsys, "--csv", str(place / "out.csv"), "--sort-into", str(place / "sorted"))
    assert code == 0
    assert (
        "broken.PNG: not an image of a known format" in said and "8 images" in said and "1 unreadable left out" in said
    )
    rows = list(csv.DictReader((place / "out.csv").open()))
    assert len(rows) == 8 and all(row["label"] in Path(row["path"]).name for row in rows)
    assert all(0 < float(row["probability"]) <= 1 for row in rows)
    copied = {path.relative_to(place / "sorted") for path in (place / "sorted").rglob("*.png")}
    assert copied == {Path(row["label"], Path(row["path"]).name) for row in rows}
    assert (place / "query").exists() and len(list((place / "query").iterdir())) == 9


def test_few_images_are_in_memory_at_once(place: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, most = list[weakref.ref](), 0

    def decoded(content: bytes, *arguments: int) -> Image.Image:
        nonlocal most
        image = any_image.decode(content, *arguments)
        opened.append(weakref.ref(image))
        most = max(most, sum(reference() is not None for reference in opened))
        return image

    for module in ("metalearn.predict.images.decode", "metalearn.data.files.preparation.decode"):
        monkeypatch.setattr(module, decoded)
    code, said = call(place, capsys, "--html", str(place / "page.html"))
    assert code == 0, said
    assert len(opened) > 30 and most <= 2


@pytest.mark.parametrize("in_colour", [False, True])
@pytest.mark.parametrize("invert", [False, True])
def test_each_example_is_decoded_once_and_prepared_as_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_colour: bool, invert: bool
) -> None:
    shape = (3, 20, 28) if in_colour else (1, 20, 28)
    paths = [tmp_path / "support" / name / "a.png" for name in ("a", "b")]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (57, 43, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    ours, decoded = learner(tmp_path, preparation=asdict(Preparation(shape, invert))), list[bytes]()
    expected = torch.stack([prepared(path, ours.trained.preparation) for path in paths])

    def decode(content: bytes, *arguments: int) -> Image.Image:
        decoded.append(content)
        return any_image.decode(content, *arguments)

    for module in ("metalearn.predict.images.decode", "metalearn.data.files.preparation.decode"):
        monkeypatch.setattr(module, decode)
    monkeypatch.setattr(ours, "_features", lambda rows: rows.float())
    monkeypatch.setattr(ours, "_keep", lambda kept: setattr(ours, "kept", kept))
    learn(ours, reader_of(ours), tmp_path / "support")
    assert decoded == [path.read_bytes() for path in paths]
    assert torch.equal(ours.kept.examples, expected)


@pytest.mark.parametrize("name", ["maml", "mann", "protomaml"])
def test_other_families_sort_as_well(place: Path, capsys, name: str) -> None:
    checkpoint(place, f"algorithm={name}")
    code, said = call(place, capsys, "--html", str(place / "page.html"), run=f"{name}.ckpt")
    assert code == 0 and "8 images" in said
    assert (place / "page.html").read_text().count("<li>\n<img") == 8


def test_a_list_of_examples_does_as_well(place: Path, capsys) -> None:
    lines = [(path, path.parent.name) for path in sorted((place / "support").rglob("*.png"))]
    with (place / "support.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *lines])
    of_folder = call(place, capsys, "--csv", str(place / "a.csv"))[0]
    of_list = call(place, capsys, "--csv", str(place / "b.csv"), "--support", str(place / "support.csv"))[0]
    assert of_folder == of_list == 0
    assert (place / "a.csv").read_text() == (place / "b.csv").read_text()


def test_a_saved_learner_needs_no_examples(place: Path, capsys) -> None:
    ours = Learner.load(place / "prototypical.ckpt").fit(*pictures(3))
    ours.save(place / "bars.pt")
    with pytest.raises(SystemExit) as ended:
        main([str(place / "bars.pt"), "--query", str(place / "query"), "--html", str(place / "page.html")])
    assert ended.value.code == 0 and "8 images" in capsys.readouterr().out
    assert "<em>angle 0</em>" in (place / "page.html").read_text()  # no picture, since none was kept


def test_what_is_unlikely_belongs_to_none(place: Path, capsys) -> None:
    code, said = call(place, capsys, "--reject", "1", "--csv", str(place / "out.csv"), "--sort-into", str(place / "s"))
    assert code == 0 and "8 none of these" in said
    assert {row["label"] for row in csv.DictReader((place / "out.csv").open())} == {""}
    assert len(list((place / "s/none of these").iterdir())) == 8


@pytest.mark.parametrize(
    ("words", "prepare", "message"),
    [
        (["--csv", "{}/out.csv"], "out.csv", "out.csv exists already"),
        (["--html", "{}/out.html"], "out.html", "out.html exists already"),
        (["--sort-into", "{}/sorted"], "sorted/a.png", "is not empty"),
        (["--csv", "{}/out", "--html", "{}/query/../out"], None, "two outputs have the path"),
        (["--csv", "{}/absent/out.csv"], None, "is not a folder"),
        (["--query", "{}/query/broken.PNG"], None, "none of the files to be sorted is an image"),
        (["--query", "{}/nowhere"], None, "is absent"),
        (["--support", "{}/nowhere"], None, "is absent"),
        (["--support", "{}/query"], None, "has no folders"),
        (["--reject", "2"], None, "must be a probability"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(place: Path, capsys, words, prepare, message: str) -> None:
    if prepare:
        (place / prepare).parent.mkdir(exist_ok=True)
        (place / prepare).write_text("mine")
    code, said = call(place, capsys, *[word.format(place) for word in words])
    assert code == 2 and message in said and "Traceback" not in said
    assert not prepare or (place / prepare).read_text() == "mine"


def test_a_class_that_cannot_be_seen_is_an_error(place: Path, capsys) -> None:
    (place / "support/empty").mkdir()
    (place / "support/empty/a.png").write_text("none")
    code, said = call(place, capsys)
    assert code == 2 and "the class empty" in said


@pytest.mark.parametrize("hidden", [[], [".DS_Store"]], ids=["empty", "hidden files alone"])
def test_a_class_without_images_is_refused(place: Path, capsys, hidden: list[str]) -> None:
    (place / "support/wren").mkdir()
    for name in hidden:
        (place / "support/wren" / name).touch()
    code, said = call(place, capsys, "--csv", str(place / "out.csv"))
    assert code == 2 and f"the class wren of {place / 'support'} has no images" in said and said.count("\n") == 1
    assert not (place / "out.csv").exists()


def test_copies_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "a.png" for folder in "xyz"]
    for path in paths:
        path.parent.mkdir()
        path.write_text(path.parent.name)
    sort_into(tmp_path / "sorted", [Answer(path, "../up", 1.0) for path in paths])
    found = {path.name: path.read_text() for path in (tmp_path / "sorted/__up").iterdir()}
    assert found == {"a.png": "x", "a-2.png": "y", "a-3.png": "z"}


def test_every_class_has_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("")
    labels = [None, "a/b", "a_b", "a_b-2", "v1/5.x", "v1_5.x", NONE, "鳥" * 120, "鳥" * 121]
    sort_into(tmp_path / "sorted", [Answer(tmp_path / "a.png", label, 1.0) for label in labels])
    bird = "鳥" * 66
    assert {path.name for path in (tmp_path / "sorted").iterdir()} == {
        *(NONE, "a_b", "a_b-2", "a_b-3", "v1_5.x", "v1_5.x-2", f"{NONE}-2", bird, f"{bird}-2")
    }
    assert folder_names(["a/b", "a_b"]) == {"a_b": "a_b", "a/b": "a_b-2"}


@pytest.mark.parametrize("label", ["../../etc", "/etc", "..", ".", "", "a/b\\c", "x\0y", "é 名"])
def test_no_label_leads_out_of_the_folder(tmp_path: Path, label: str) -> None:
    folder = (tmp_path / "sorted" / folder_name(label)).resolve()
    assert folder.parent == tmp_path / "sorted"


def test_files_are_found_below_folders_once_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("b/2.png", "a.png", ".hidden.png", ".git/x.png", "b/c/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = to_be_sorted([tmp_path, tmp_path / "a.png"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.png", "b/2.png", "b/c/1.png"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    for name in ("photos/a.png", "elsewhere/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "photos/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "photos")
    found = to_be_sorted([tmp_path / "photos"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["photos/a.png", "photos/link/b.png"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(place: str) -> None:
        raise PermissionError(13, "Permission denied", place)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(PermissionError, match="Permission denied"):
        to_be_sorted([tmp_path])


def test_one_class_is_no_question(place: Path, capsys) -> None:
    for folder in sorted((place / "support").iterdir())[1:]:
        shutil.rmtree(folder)
    code, said = call(place, capsys)
    assert code == 2
    assert f"{place}/support has one class, so each image would be of it: give examples of others too" in said


def test_the_page_shows_the_least_sure_and_escapes_names(place: Path, capsys, monkeypatch) -> None:
    (place / "support/angle 0").rename(place / "support/<script>alert(1)<")
    monkeypatch.setattr("metalearn.predict.page.MOST_CARDS", 3)
    assert call(place, capsys, "--csv", str(place / "a.csv"), "--html", str(place / "page.html"))[0] == 0
    text = (place / "page.html").read_text()
    probabilities = sorted(float(row["probability"]) for row in csv.DictReader((place / "a.csv").open()))
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;" in text
    assert text.count("<meter") == 3 and f'value="{probabilities[0]:.3f}"' in text


def test_answers_are_those_of_the_learner(place: Path, capsys) -> None:
    assert call(place, capsys, "--csv", str(place / "a.csv"))[0] == 0
    ours = learner(place).fit(
        sorted((place / "support").rglob("*.png")),
        [path.parent.name for path in sorted((place / "support").rglob("*.png"))],
    )
    rows = list(csv.DictReader((place / "a.csv").open()))
    expected = ours.predict_proba([row["path"] for row in rows]).max(1)
    np.testing.assert_allclose([float(row["probability"]) for row in rows], expected, atol=1e-4)


def test_an_interruption_ends_without_a_traceback(place: Path, capsys, monkeypatch) -> None:
    def interrupted(given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metalearn.predict.command.predict", interrupted)
    assert call(place, capsys) == (130, "")


def test_the_demonstration_draws_what_it_sorts(place: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as ended:
        main(["prototypical.ckpt", "--demo"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "80 images" in said
    assert "$ python -m metalearn.predict prototypical.ckpt --support metalearn-demo/support" in said
    with pytest.raises(SystemExit) as ended:
        main(["prototypical.ckpt", "--demo"])
    assert ended.value.code == 2 and "exists already" in capsys.readouterr().err
