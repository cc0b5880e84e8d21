"""Data sets of texts: their files, their division, and one line for each kind of bad file."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from texts import TEXTS, VERBS, encoding, write_csv, write_json

from metalearn.data.text import intents as four_sets
from metalearn.data.text.intents import Intents, md5_of
from metalearn.data.text.labelled import LabelledTexts
from metalearn.types import SPLITS


def source(root: Path, **changes: Any) -> LabelledTexts:
    settings: dict[str, Any] = {
        "manifest": str(root.parent / "classes.csv"),
        "split": [0.5, 0.2, 0.3],
        "split_seed": 0,
        "input_shape": [12],
        "encoding": encoding(),
    }
    return LabelledTexts(str(root), **settings | changes)


def test_csv_and_json_are_the_same_data(tmp_path: Path) -> None:
    by_csv = source(write_csv(tmp_path / "texts.csv")).load()
    by_json = source(write_json(tmp_path / "texts.JSONL")).load()
    assert [bank.num_classes for bank in by_csv.values()] == [5, 2, 3]
    assert sorted(name for bank in by_csv.values() for name in bank.names) == sorted(VERBS)
    for split in SPLITS:
        assert by_csv[split].sha256() == by_json[split].sha256()
        assert by_csv[split].texts == by_json[split].texts
        bank = by_csv[split]
        for name, rows in zip(bank.names, bank.rows, strict=True):
            assert [bank.texts[row] for row in rows] == TEXTS[name]


def test_the_split_is_drawn_once_and_kept(tmp_path: Path) -> None:
    root = write_csv(tmp_path / "texts.csv")
    drawn = source(root, split_seed=3).load()
    again = source(root, split_seed=4).load()  # the manifest exists, so nothing is drawn
    assert [bank.names for bank in drawn.values()] == [bank.names for bank in again.values()]
    (tmp_path / "classes.csv").write_text("split,class\ntrain,play\nval,stop\ntest,book\n")
    assert [bank.names for bank in source(root).load().values()] == [("play",), ("stop",), ("book",)]


def test_all_classes_may_be_for_the_test(tmp_path: Path) -> None:
    assert [*source(write_csv(tmp_path / "texts.csv"), split=[0, 0, 1]).load()] == ["test"]


CSV = b"text,label\none,a\ntwo,a\n"
BAD_CSV = [
    (b"one,a\ntwo,a\n", "(its first line is 'one,a')"),
    (CSV + b"  ,a\n", "(line 4: its text is empty)"),
    (CSV + b"three,\n", "(line 4: its label is empty)"),
    (CSV + b"caf\xe9,a\n", "(line 4: its text is not UTF-8)"),
    (CSV.decode().encode("utf-16"), "(line 1: its text is not UTF-8)"),
    (CSV + b"th\0ree,a\n", "(line 4: it holds the character NUL)"),
    (
        CSV + b"x" * 1_000_000 + b",a\n",
        "(line 4: a field has more than 131,072 characters; shorten it, or close its quotes if they are open)",
    ),
    (CSV + b"x" * 100_001 + b",a\n", "(line 4: its text has 100,001 characters, more than 100,000)"),
    (CSV + b"three\n", "(line 4: it has 1 fields, not 2)"),
]
LINE = b'{"text": "one", "label": "a"}\n'
BAD_JSON = [
    (LINE + b"text,label\n", "(line 2: it is not JSON)"),
    (LINE + b'{"text": "one"}\n', "(line 2: it has no texts at text and label)"),
    (LINE + b'{"text": 3, "label": "a"}\n', "(line 2: it has no texts at text and label)"),
    (LINE + b'{"text": "one", "label": 3}\n', "(line 2: its label is a number; write it in quotes)"),
    (LINE + b'{"text": "\\ud800", "label": "a"}\n', "(line 2: it holds half of a character (a surrogate))"),
    (LINE + b"[" * 100_000 + b"\n", "(line 2: it is not JSON)"),
    (LINE + b'{"text": "caf\xe9", "label": "a"}\n', "(line 2: its text is not UTF-8)"),
    (LINE + b'{"text": "' + b"x" * 1_000_000, "(line 2: it is longer than 800,000 bytes)"),
    (LINE + b'{"text": "a\\u0000", "label": "a"}\n', "(line 2: it holds the character NUL)"),
]


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [(".csv", *bad) for bad in BAD_CSV] + [(".jsonl", *bad) for bad in BAD_JSON],
    ids=lambda value: value[-40:] if isinstance(value, str) else "file",
)
def test_a_bad_line_is_named(tmp_path: Path, suffix: str, content: bytes, message: str) -> None:
    path = tmp_path / f"texts{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^text: ") as caught:
        source(path).load()
    assert str(caught.value).endswith(message)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "classes.csv").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,label\n", "has no texts"),
        (b"", "is not CSV with the header text,label"),
        (CSV + b"three,b\n", "has 1 classes with a single text, but needs two of each: b"),
        (CSV + b"one,a \ntwo,a \n", "differ only in blanks"),
        (CSV + b"three,b\nfour,b\n", "classes are too few"),
    ],
)
def test_classes_that_cannot_be_are_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "texts.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^text: .*{message}") as caught:
        source(path).load()
    assert "\n" not in str(caught.value)


def test_an_absent_file_and_another_shape_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"texts.csv is absent; dataset.root=FILE is a CSV file with the header"):
        source(tmp_path / "texts.csv").load()
    with pytest.raises(ValueError, match=r"^text: input_shape is \[1, 28, 28\]; it must be \[tokens of a text\]$"):
        source(tmp_path, input_shape=[1, 28, 28])


def write_intents(folder: Path, lists: dict[str, tuple[str, ...]], places: str = "splits/02/{}.txt") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "full.jsonl", "sentence")
    for name, classes in lists.items():
        path = folder / places.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(classes) + "\n")


LISTS = {"train": VERBS[:5], "valid": VERBS[5:7], "test": VERBS[7:]}


def intents(root: Path, fold: int = 2, authors: Path = Path("/nowhere")) -> Intents:
    return Intents(str(root), name="liu", fold=fold, input_shape=[12], encoding=encoding(), url=f"file://{authors}")


@pytest.mark.parametrize("place", ["liu", "text/liu"])
@pytest.mark.parametrize("places", ["splits/02/{}.txt", "few_shot/02/labels.{}.txt"])
def test_intents_are_divided_as_their_authors_did(tmp_path: Path, place: str, places: str) -> None:
    write_intents(tmp_path / place, LISTS, places)
    banks = intents(tmp_path).load()
    expected = [tuple(sorted(names)) for names in LISTS.values()]
    assert [banks[split].names for split in SPLITS] == expected
    assert banks["val"].texts[0] == TEXTS[expected[1][0]][0]


def test_a_result_names_its_class_split_in_place_of_its_setting(metalearn: Command, tmp_path: Path) -> None:
    small = ["mode=test", "dataset=liu", "backbone=bag_of_ngrams", f"dataset.root={tmp_path}"]
    small += ["episode.test.way=2", "episode.test.query=2", "episode.test.num_episodes=3"]
    for fold in (1, 2):
        write_intents(tmp_path / "liu", LISTS, f"splits/0{fold}/{{}}.txt")
    other = "dataset@test_dataset=liu", f"test_dataset.root={tmp_path}", "test_dataset.fold=2"
    runs = [metalearn(*small, *words, small=False) for words in ([], ["dataset.fold=2"], other)]
    assert [run.code for run in runs] == [0, 0, 0], runs[-1].text
    assert [run.result["class_split"] for run in runs] == [1, 2, None]
    hashes = [run.result["config_sha256"] for run in runs]
    assert hashes[0] == hashes[1] != hashes[2]


def test_absent_files_are_downloaded_if_their_checksums_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authors, root = tmp_path / "authors", tmp_path / "data"
    write_intents(authors, LISTS, "few_shot/02/labels.{}.txt")
    with pytest.raises(OSError, match=f"^liu: {root}/liu/full.jsonl is absent; .* has the md5 .* instead of e564"):
        intents(root, authors=authors).load()
    monkeypatch.setattr(four_sets, "md5_of", lambda name: hashlib.md5((authors / name[4:]).read_bytes()).hexdigest())
    assert intents(root, authors=authors).load()["train"].names == tuple(sorted(VERBS[:5]))
    assert len([*(root / "liu").rglob("*.*")]) == 4
    assert intents(root).load()["test"].names == tuple(sorted(VERBS[7:]))  # without the authors' folder


def test_each_file_of_the_authors_has_a_checksum() -> None:
    parts = ("full.jsonl", *(f"few_shot/{fold:02}/labels.{part}.txt" for fold in range(1, 6) for part in LISTS))
    sums = [md5_of(f"{name}/{part}") for name in ("clinc150", "banking77", "hwu64", "liu") for part in parts]
    assert len(set(sums)) == 64 and all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in sums)


def test_intents_that_are_absent_or_in_two_splits_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="^liu: .*full.jsonl is absent; copy it from https://github.com/"):
        intents(tmp_path).load()
    write_intents(tmp_path / "liu", {**LISTS, "valid": (*VERBS[5:7], "play")})
    with pytest.raises(ValueError, match="^liu: split 2 has play in train and in val$"):
        intents(tmp_path).load()
    with pytest.raises(
        OSError, match=r"^liu: .*few_shot/03/labels.train.txt is absent; copy it from https://github.com/"
    ):
        intents(tmp_path, fold=3).load()
    (tmp_path / "liu/splits/02/valid.txt").write_text("dance\n")
    with pytest.raises(ValueError, match="^liu: .* has no texts of 1 classes of .*: dance$"):
        intents(tmp_path).load()
    with pytest.raises(ValueError, match="^liu: fold=6 must be 1 to 5$"):
        intents(tmp_path, fold=6)


def test_intents_of_another_set_are_refused() -> None:
    with pytest.raises(ValueError, match="^intents: name=snips must be one of clinc150, banking77, hwu64, liu; use "):
        Intents("data", name="snips", fold=1, input_shape=[12], encoding=encoding(), url="file:///nowhere")


@pytest.mark.parametrize(
    ("verbs", "is_told"),
    [(VERBS, True), (["stop", "book"], True), (["book", "book"], True), (["play", "play"], False)],
    ids=["all splits", "two splits", "twice in meta-test", "twice in meta-train"],
)
def test_a_text_that_a_query_may_repeat_is_told(
    verbs: list[str], is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_json(tmp_path / "texts.jsonl")
    with path.open("a") as file:
        file.writelines(json.dumps({"text": "the same", "label": verb}) + "\n" for verb in verbs)
    (tmp_path / "classes.csv").write_text(
        "split,class\ntest,book\n" + "".join(f"{'val' if v == 'stop' else 'train'},{v}\n" for v in VERBS if v != "book")
    )
    source(path).load()
    line = "text: 1 text is there more than once, so a query may be one that was learnt, such as 'the same'"
    assert (line in caplog.text) == is_told
