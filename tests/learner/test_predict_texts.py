"""`python -m metalearn.predict` with texts: lists, files of lines, table, CSV and page."""

import csv
import json
from pathlib import Path

import pytest
from browser import CHROMIUM, WIDTHS, browse
from learners import text_checkpoint
from texts import TEXTS, VERBS

from metalearn import Learner
from metalearn.data.text.reading import read_unlabelled
from metalearn.export.__main__ import main as export
from metalearn.predict.__main__ import main

QUERIES = [text for verb in VERBS for text in TEXTS[verb][3:5]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Builds a run, support/ with a file of three lines for each class, and query.txt."""
    text_checkpoint(tmp_path)
    for verb in VERBS:
        (tmp_path / "support" / verb).mkdir(parents=True)
        (tmp_path / "support" / verb / "examples.txt").write_text("\n".join(TEXTS[verb][:3]) + "\n\n")
    (tmp_path / "query.txt").write_text("\n".join(QUERIES))
    return tmp_path


def call(place: Path, capsys, *words: str, support: str = "support", query: str = "query.txt") -> tuple[int, str]:
    options = ["--support", str(place / support), "--query", str(place / query)]
    with pytest.raises(SystemExit) as ended:
        main([str(place / "prototypical.ckpt"), *options, *words])
    said = capsys.readouterr()
    return ended.value.code, said.out + said.err


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline="")))


def test_every_text_gets_its_class(place: Path, capsys) -> None:
    code, said = call(place, capsys, "--csv", str(place / "out.csv"))
    assert code == 0 and "20 texts: 2 play" in said and "Please play my friend" in said
    assert [row["text"] for row in rows(place / "out.csv")] == QUERIES
    assert all(row["label"] in row["text"] for row in rows(place / "out.csv"))


def test_a_text_is_shown_as_it_is(place: Path, capsys) -> None:
    (place / "query.txt").write_text("please play [red]:cat:")
    code, said = call(place, capsys)
    assert code == 0 and "please play [red]:cat:" in said


def test_every_form_of_support_and_query_gives_the_same(place: Path, capsys) -> None:
    examples = [(text, verb) for verb in VERBS for text in TEXTS[verb][:3]]
    with (place / "support.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *examples])
    records = [json.dumps({"text": text, "label": label}) for text, label in examples]
    (place / "support.jsonl").write_text("\n".join(records))
    with (place / "query.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in QUERIES)])
    with (place / "labelled.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([("text", "label"), *((text, "") for text in QUERIES)])
    (place / "query.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in QUERIES))
    (place / "folder").mkdir()
    (place / "folder/one.txt").write_text("\r\n".join(QUERIES))
    for number, (support, query) in enumerate(
        [
            *(("support", query) for query in ("query.txt", "query.csv", "labelled.csv", "query.jsonl", "folder")),
            *((support, "query.txt") for support in ("support.csv", "support.jsonl")),
        ]
    ):
        code, said = call(place, capsys, "--csv", str(place / f"{number}.csv"), support=support, query=query)
        assert code == 0, said
        assert rows(place / f"{number}.csv") == rows(place / "0.csv")


def test_texts_of_several_lines_come_back_from_the_list(place: Path, capsys) -> None:
    texts = ["play\rrice", "play\r\nrice", "play\nrice", 'play "rice",\tnow', " play "]
    (place / "query.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    assert call(place, capsys, "--csv", str(place / "out.csv"), query="query.jsonl")[0] == 0
    assert [row["text"] for row in rows(place / "out.csv")] == texts


def test_unreadable_files_are_listed_and_left_out(place: Path, capsys) -> None:
    (place / "folder").mkdir()
    (place / "folder/good.txt").write_text("Please play rice\n")
    (place / "folder/bad.txt").write_bytes(b"Please\n\xff\xfe\n")
    code, said = call(place, capsys, query="folder")
    assert code == 0 and "1 text: 1 play; 1 unreadable left out" in said
    assert "bad.txt does not hold texts (line 2: its text is not UTF-8)" in said


def test_what_is_unlikely_belongs_to_none(place: Path, capsys) -> None:
    code, said = call(place, capsys, "--reject", "1", "--csv", str(place / "out.csv"))
    assert code == 0 and "20 none of these" in said
    assert {row["label"] for row in rows(place / "out.csv")} == {""}


def test_one_text_of_a_class_is_enough_and_a_saved_learner_needs_none(place: Path, capsys) -> None:
    (place / "one.csv").write_text("text,label\nplay,a\nstop,b\n")
    assert call(place, capsys, support="one.csv")[0] == 0
    Learner.load(place / "prototypical.ckpt").fit(["play", "stop"], ["a", "b"]).save(place / "saved.pt")
    with pytest.raises(SystemExit) as ended:
        main([str(place / "saved.pt"), "--query", str(place / "query.txt"), "--html", str(place / "page.html")])
    assert ended.value.code == 0 and "<em>a</em>" in (place / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        (["--sort-into", "{}/sorted"], {}, "--sort-into copies images, but the run was trained on texts: use --csv"),
        ([], {"support": "absent"}, "absent is absent; it is a folder of examples"),
        ([], {"support": "empty"}, "has no folders"),
        ([], {"support": "bad"}, "the class play of"),
        ([], {"support": "query.txt"}, "is not CSV with the header text,label"),
        ([], {"query": "blank.txt"}, "none of the files to be sorted has a text"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(place: Path, capsys, words, given, message: str) -> None:
    (place / "empty").mkdir()
    (place / "bad/play").mkdir(parents=True)
    (place / "bad/play/a.txt").write_text("\n")
    (place / "blank.txt").write_text(" \n")
    code, said = call(place, capsys, *[word.format(place) for word in words], **given)
    assert code == 2 and message in said and said.count("\n") == 1


def test_texts_are_not_exported(place: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        export([str(place / "prototypical.ckpt"), str(place / "method.onnx")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "trained on texts, which become tokens outside of the graph" in said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"good\nbad\0\n", "line 2: it holds the character NUL"),
        ("a.jsonl", b'{"text": 3}', "line 1: it has no text at text"),
        ("a.jsonl", b"[3]", "line 1: it is not an object"),
        ("a.csv", b"sentence\nx\n", "its first line is 'sentence'"),
        ("a.csv", b"text\na,b\n", "line 2: it has 2 fields, not 1"),
        ("a.csv", b"text\n' '\n \n", "line 3: its text is empty"),
    ],
)
def test_a_file_that_holds_other_things_is_refused_by_its_line(tmp_path: Path, name, content, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="does not hold texts") as caught:
        read_unlabelled(tmp_path / name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.CSV", b"text,label\none,a\ntwo,b\n"),
        ("a.JSONL", b'{"text": "one"}\n{"text": "two"}\n'),
        ("a.csv", b'"text","label"\none,a\ntwo,b\n'),
        ("a.csv", b'\xef\xbb\xbf"text",label\r\none,a\r\ntwo,b\r\n'),
        ("a.csv", b"text,label\rone,a\rtwo,b\r"),
    ],
)
def test_capital_suffixes_quoted_headers_and_all_line_ends_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_unlabelled(tmp_path / name) == ["one", "two"]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")
def test_the_page_shows_texts_and_their_examples_at_every_width(place: Path, capsys, tmp_path: Path) -> None:
    (place / "query.txt").write_text("\n".join([*QUERIES, "Please play <script>alert(1)</script> " + "x" * 3000]))
    assert call(place, capsys, "--html", str(place / "page.html"))[0] == 0
    page = (place / "page.html").read_text()
    assert page.count("<q>Please play") >= 2 and "Sorted texts" in page and "<img" not in page and "<script" not in page
    measured = browse(page, tmp_path)
    assert measured["errors"] == []
    for device, width in WIDTHS.items():
        seen = measured[device]
        assert seen["width"] <= width and seen["scroll"] <= seen["width"] and seen["outside"] == []
        assert seen["smallest_text"] >= 11
