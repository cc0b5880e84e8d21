"""Sentences with a blank: the words that are classes, and disjoint splits."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from texts import encoding

from metalearn.data.text.cloze import Cloze, blanked, read_sentences
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.tokens import BLANK
from metalearn.types import SPLITS

ANIMALS = ("cat", "dog", "cow", "hen", "pig", "fox", "owl", "bee", "ant", "elk")
PLACES = ("barn", "house", "yard", "wood")
TEXT = " ".join(f"Today the {animal} sleeps in my {place}." for place in PLACES for animal in ANIMALS)


def source(root: Path, **changes: Any) -> Cloze:
    settings: dict[str, Any] = {
        "manifest": str(root.parent / "classes.csv"),
        "split": [0.6, 0.2, 0.2],
        "split_seed": 0,
        "sentences": 3,
        "input_shape": [9],
        "encoding": encoding(),
    }
    return Cloze(str(root), **settings | changes)


def test_a_class_is_a_word_and_no_word_and_no_sentence_is_in_two_splits(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    banks = source(tmp_path / "text.txt").load()
    names = [name for split in SPLITS for name in banks[split].names]
    assert len(names) == len(set(names)) and set(ANIMALS) <= set(names)
    filled = []
    for bank in banks.values():
        for name, rows in zip(bank.names, bank.rows, strict=True):
            assert len(rows) == 3
            for row in rows:
                text = bank.texts[row]
                assert BLANK in text.split() and name not in text.split() and len(text.split()) <= 9
                assert (bank.images[row] == 59).sum() == text.count(BLANK)  # the last id
                filled.append(text.replace(BLANK, name))
    assert len(filled) == len(set(filled))
    again = source(tmp_path / "text.txt", split_seed=1).load()
    assert [again[split].names for split in SPLITS] == [banks[split].names for split in SPLITS]


def test_rare_words_choose_first_and_a_word_with_too_few_sentences_is_no_class() -> None:
    sentences = [["a", "b", "c", "d", str(i)] for i in range(4)] + [["a", "rare", "e", "f", str(i)] for i in range(2)]
    chosen = blanked(sentences, each=2, longest=9)
    assert chosen.keys() == {"e", "b", "c"}  # e takes both that rare has, b and c two of the other four each
    assert all(BLANK in text for texts in chosen.values() for text in texts)
    assert blanked(sentences, each=9, longest=9) == {}


def test_a_long_sentence_is_cut_around_its_blank() -> None:
    words = [str(i) for i in range(20)]
    for place, expected in ((0, "␣ 1 2 3"), (10, "8 9 ␣ 11"), (19, "16 17 18 ␣")):
        line = [*words[:place], "word", *words[place + 1 :]]
        assert blanked([line], each=1, longest=4) == {"word": [expected]}


def test_a_sentence_of_more_tokens_than_words_is_cut_around_its_blank_too() -> None:
    recipe = encoding(kind="characters").tokeniser([]).recipe
    for place, length, expected in ((0, 32, 0), (10, 32, 15), (19, 32, 30), (19, 9, 5), (19, 1, 0)):
        words = ["word"] * 20
        words[place] = BLANK
        ids = TextPreparation(length, recipe).of_text(" ".join(words))
        assert (ids == 59).nonzero().tolist() == [[expected]]  # the last id


def write_brown(path: Path, content: bytes, name: str = "brown/ca01") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("brown/cats.txt", "ca01 news\n")
    return path


def test_brown_is_read_without_its_tags(tmp_path: Path) -> None:
    path = write_brown(tmp_path / "brown.zip", b"\n\n\tThe/at Jury/nn-tl said/vbd 1/2/cd ./.\n\n\tIt/pps did/dod ./.\n")
    assert read_sentences(path) == [["the", "jury", "said", "1", "/", "2", "."], ["it", "did", "."]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no word in 3 sentences"),
        (b"caf\xe9", "is not plain text in UTF-8: line 1 has other letters"),
        (b"a\0b", "is not plain text: it holds the character NUL"),
        (b"x " * 500_000, "has a sentence of 1,000,000 characters"),
    ],
)
def test_a_bad_text_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"^cloze: .*{message}") as caught:
        source(tmp_path / "text.txt").load()
    assert "\n" not in str(caught.value) and not (tmp_path / "classes.csv").exists()


def test_sentences_longer_than_the_memory_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    with pytest.raises(ValueError, match="^cloze: the data set takes [0-9,.]+ GB, but the memory has"):
        source(tmp_path / "text.txt", input_shape=[10**14]).load()


def test_an_absent_file_a_damaged_and_another_zip_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"brown.zip is absent; dataset.root=FILE is a plain text"):
        source(tmp_path / "brown.zip").load()
    (tmp_path / "brown.zip").write_bytes(b"no zip")
    with pytest.raises(OSError, match=r"^cloze: cannot read .*brown.zip \(File is not a zip file\); replace it$"):
        source(tmp_path / "brown.zip").load()
    with pytest.raises(ValueError, match="has no texts of the Brown corpus"):
        source(write_brown(tmp_path / "other.zip", b"x/y\n", "other/x")).load()
    with pytest.raises(ValueError, match="^cloze: sentences=1 must be at least 2"):
        source(tmp_path, sentences=1)


@pytest.mark.parametrize(("place", "bit", "message"), [(8, 1, "is encrypted"), (10, 64, "compression method")])
def test_a_zip_that_cannot_be_unpacked_is_one_line(tmp_path: Path, place: int, bit: int, message: str) -> None:
    content = bytearray(write_brown(tmp_path / "brown.zip", b"The/at dog/nn ran/vbd ./.\n").read_bytes())
    content[content.index(b"PK\1\2") + place] ^= bit  # flags and method of the first entry of the zip's directory
    (tmp_path / "brown.zip").write_bytes(content)
    with pytest.raises(OSError, match=rf"^cloze: cannot read .*brown.zip \(.*{message}.*\); replace it$"):
        source(tmp_path / "brown.zip").load()


def test_a_zip_that_is_a_pipe_or_unpacks_to_very_much_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(OSError, match="pipe.zip is not a regular file"):
        read_sentences(tmp_path / "pipe.zip")
    content = bytearray(write_brown(tmp_path / "brown.zip", b"").read_bytes())
    size = content.index(b"PK\1\2") + 24
    content[size : size + 4] = (3 << 30).to_bytes(4, "little")
    (tmp_path / "brown.zip").write_bytes(content)
    with pytest.raises(OSError, match="its texts have 3,221,225,472 bytes unpacked, more than 1,073,741,824"):
        read_sentences(tmp_path / "brown.zip")
