"""The split of a user's classes: sizes, reproducibility, and file."""

from pathlib import Path

import pytest
from conftest import REPOSITORY

from metalearn.data.manifest import draw_split, read_manifest, write_manifest
from metalearn.data.splits import read_split
from metalearn.types import SPLITS

NAMES = [f"class {i}" for i in range(100)]
FRACTIONS = [0.64, 0.16, 0.2]


def test_the_parts_have_their_sizes_and_share_nothing() -> None:
    for count, sizes in {100: [64, 16, 20], 25: [16, 4, 5], 10: [6, 2, 2], 5: [3, 1, 1]}.items():
        parts = [*draw_split(NAMES[:count], FRACTIONS, 0).values()]
        assert [len(part) for part in parts] == sizes
        assert sorted(sum(parts, ())) == sorted(NAMES[:count])
        assert all(list(part) == sorted(part) for part in parts)
    assert draw_split(NAMES, [0, 0, 1], 0) == {"train": (), "val": (), "test": tuple(sorted(NAMES))}
    with pytest.raises(ValueError, match=r"^3 classes are too few: val gets none by the fraction 0.16; raise it$"):
        draw_split(NAMES[:3], FRACTIONS, 0)


def test_the_draw_depends_on_seed_and_names_alone() -> None:
    first = draw_split(NAMES, FRACTIONS, 0)
    assert draw_split(NAMES[::-1], FRACTIONS, 0) == first != draw_split(NAMES, FRACTIONS, 1)
    # This draw is pinned: it must never change.
    assert draw_split("abcdefghij", FRACTIONS, 0) == {"train": (*"beghij",), "val": (*"af",), "test": (*"cd",)}


def test_the_file_gives_the_split_back(tmp_path: Path) -> None:
    names = [*NAMES[:40], "with, comma", 'with "quotes"', "żółw", "a/b", "two\nlines"]
    classes = draw_split(names, FRACTIONS, 3)
    write_manifest(tmp_path / "classes.csv", classes)
    assert read_manifest(tmp_path / "classes.csv") == classes
    assert [path.name for path in tmp_path.iterdir()] == ["classes.csv"]
    write_manifest(tmp_path / "classes.csv", read_split("mini_imagenet", "ravi"))
    package = REPOSITORY / "metalearn/data/splits/mini_imagenet_ravi.csv"
    assert (tmp_path / "classes.csv").read_text().split() == package.read_text().split()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "its first line is ''"),
        (b"split,class\n", "it lists no classes"),
        (b"class,split\na,train\n", "its first line is 'class,split'"),
        (b"split,class\ntrain,a\ntraining,b\n", "line 3: 'training' is not one of train, val, test"),
        (b"split,class\ntrain,a\ntest,a\n", "line 3: the class a is listed twice"),
        (b"split,class\ntrain\n", "line 2: it has 1 fields, not 2"),
        (
            b"split,class\ntrain,a,b\n",
            'line 2: it has 3 fields, not 2; a name that holds a comma stands in quotes: "',
        ),
        (b"\xff\xfe\x00", "line 1: its text is not UTF-8"),
    ],
)
def test_bad_files(tmp_path: Path, text: bytes, message: str) -> None:
    (path := tmp_path / "classes.csv").write_bytes(text)
    with pytest.raises(ValueError, match=rf"^{path} is not a CSV file of split,class \(") as caught:
        read_manifest(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_a_spreadsheet_adds_is_no_harm(tmp_path: Path) -> None:
    (path := tmp_path / "classes.csv").write_bytes(b"\xef\xbb\xbfsplit,class\r\nval,b\r\ntrain,a\r\n\r\n")
    assert read_manifest(path) == {"train": ("a",), "val": ("b",), "test": ()}
    assert [*read_manifest(path)] == [*SPLITS]
