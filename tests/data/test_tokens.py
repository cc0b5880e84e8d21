"""Texts as ids: the meaning of each id, and its dependences."""

import zlib
from pathlib import Path

import pytest
import torch
from texts import TEXTS, VERBS, banks, encoding, write_vectors

from metalearn.data.text.tokens import BLANK, most_frequent, split_words
from metalearn.data.text.vectors import read_vectors, read_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Isn't it?", ["is", "n't", "it", "?"]),
        ("We'll can't", ["we", "'ll", "ca", "n't"]),
        ("We\u2019ll can\u2019t", ["we", "'ll", "ca", "n't"]),
        ("Zürich, 3.5%", ["zürich", ",", "3", ".", "5", "%"]),
        ("rock 'n' roll", ["rock", "'", "n", "'", "roll"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert split_words(text) == expected


def test_the_vocabulary_is_by_frequency_then_by_alphabet() -> None:
    assert most_frequent(["b a", "a c b", "a"], 3) == ["a", "b", "c"]
    assert most_frequent(["b a", "a c b", "a"], 2) == ["a", "b"]


def test_a_word_of_the_vocabulary_has_its_place_as_id_and_others_share_the_buckets() -> None:
    tokeniser = encoding(num_tokens=20, buckets=5).tokeniser(["b a", "a c b", "a"])
    assert tokeniser.encode("A b c", 9) == [1, 2, 3]
    assert tokeniser.encode("unseen", 9) == [18 - zlib.crc32(b"unseen") % 5]
    assert all(14 <= tokeniser.encode(f"word{i}", 9)[0] <= 18 for i in range(50))
    assert tokeniser.encode(f"a {BLANK}b", 9) == [1, 19, 2]
    assert tokeniser.encode("a a a a", 3) == [1, 1, 1]


def test_characters_have_their_codes() -> None:
    tokeniser = encoding(kind="characters", num_tokens=1000).tokeniser([])
    assert tokeniser.encode("Aé", 9) == [1 + ord("A"), 1 + ord("é")]
    assert tokeniser.encode(BLANK, 9) == [999]
    assert all(0 < number < 999 for number in tokeniser.encode("漢字🙂", 9))


def test_the_vocabulary_is_that_of_meta_train_alone() -> None:
    changed = {**TEXTS, "play": ["quite other words"] * 7}
    first, second = (banks({"train": TEXTS, "test": test}, 12) for test in (TEXTS, changed))
    assert torch.equal(first["train"].images, second["train"].images)
    assert first["train"].sha256() == second["train"].sha256()
    assert first["test"].vocabulary == second["test"].vocabulary
    other = banks({"train": changed, "test": TEXTS}, 12)
    assert other["test"].vocabulary != first["test"].vocabulary


def test_texts_are_padded_by_0_cut_at_the_end_and_kept_as_written(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        bank = banks({"train": {"x": ["a b c d", "a"], "y": ["b", "c"]}}, 3)["train"]
    assert bank.images.dtype == torch.int32
    assert bank.images.tolist() == [[1, 2, 3], [1, 0, 0], [2, 0, 0], [3, 0, 0]]
    assert bank.texts == ("a b c d", "a", "b", "c")
    assert [rows.tolist() for rows in bank.rows] == [[0, 1], [2, 3]]
    assert "1 of 4 texts of train are cut to 3 tokens" in caplog.text


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
def test_the_words_of_a_file_of_vectors_are_the_vocabulary(tmp_path: Path, name: str) -> None:
    expected = write_vectors(tmp_path / name)
    assert read_words(tmp_path / name) == [*VERBS, "please"]
    assert (read_vectors(tmp_path / name) == expected).all()
    tokeniser = encoding(words=str(tmp_path / name)).tokeniser(["never seen"])
    assert tokeniser.encode("please book play", 9) == [11, 3, 1]
    with pytest.raises(ValueError, match=r"has 11 words: set dataset.encoding.num_tokens=18$"):
        encoding(words=str(tmp_path / name), num_tokens=17).tokeniser([])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"a 1 2\nb 1\n", "line 2: it has 1 numbers, and the first line 2"),
        (b"a 1 2\n. . 1 2\n", "line 2: it has 3 numbers, and the first line 2; delete it, if its word holds blanks"),
        (b"a 1 2\nb 1 2\na 3 4\n", "line 3: the word 'a' is that of line 1 too"),
        (b"2 50\na 1 2\n", "line 1: a word and its numbers are needed; delete the header that word2vec writes"),
        (b"a 1 2\nb 1 x\n", "line 2: not all of its 2 numbers are numbers"),
        (b"a 1 nan\n", "line 1: not all of its numbers are finite"),
        (b"a 1 2\n\xe9 1 2\n", "line 2: its text is not UTF-8"),
        (b"a " + b"1 " * (1 << 16), "line 1: it is longer than 65,536 bytes"),
    ],
)
def test_a_bad_file_of_vectors_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a file of word vectors in GloVe's format") as caught:
        read_vectors(path)
    assert str(caught.value) == f"{path} is not a file of word vectors in GloVe's format ({message})"


def test_a_file_that_is_no_gzip_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "vectors.gz").write_bytes(b"a 1 2\n")
    with pytest.raises(ValueError, match="is not a file of word vectors") as caught:
        read_words(tmp_path / "vectors.gz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("num_tokens", "buckets"), [(7, 5), (60, 0)])
def test_too_few_ids_are_refused(num_tokens: int, buckets: int) -> None:
    with pytest.raises(ValueError, match=f"encoding: num_tokens={num_tokens} must be above"):
        encoding(num_tokens=num_tokens, buckets=buckets)
