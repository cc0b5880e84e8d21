"""Tables: ranks by hand, divided classes, and one line for each fault of a file."""

from pathlib import Path

import numpy as np
import pytest

from metalearn.data.table import Table, ranks, read_table

ROWS = [f"{6 * c + 2 * i},{name},{-i}" for c, name in enumerate("abc") for i in range(3)]
CSV = "\n".join(["size,label,age", *ROWS])


def table(folder: Path, content: str = CSV, *, columns: int = 2, label: str = "label") -> Table:
    (folder / "table.csv").write_text(content)
    (folder / "classes.csv").write_text("split,class\ntrain,a\nval,b\ntest,c\n")
    more = {"split": [0.64, 0.16, 0.2], "split_seed": 0, "input_shape": [1, 1, columns]}
    return Table(str(folder / "table.csv"), label=label, manifest=str(folder / "classes.csv"), **more)


def test_ranks_ignore_monotone_changes_and_clip_beyond_the_reference() -> None:
    rng = np.random.default_rng(0)
    reference, values = np.sort(rng.normal(size=(99, 3)), axis=0), rng.normal(size=(20, 3))
    np.testing.assert_array_equal(ranks(np.exp(values), np.exp(reference)), ranks(values, reference))
    own = ranks(reference, reference)
    assert (np.diff(own.astype(int), axis=0) >= 2).all()  # 99 ranks, 255 / 99 levels apart
    extremes = ranks(np.array([[-9.0] * 3, [9.0] * 3]), reference)
    np.testing.assert_array_equal(extremes, [[0] * 3, [255] * 3])


def test_a_warning_counts_the_rows_of_two_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table(tmp_path).load()
    assert not caplog.records
    table(tmp_path, f"{CSV}\n0,c,0\n0,c,0").load()  # the first row of a
    assert "1 rows of equal numbers are in two splits" in caplog.text


def test_each_class_has_its_rows_ranked_among_those_of_training(tmp_path: Path) -> None:
    banks = table(tmp_path).load()
    assert {split: bank.names for split, bank in banks.items()} == {"train": ("a",), "val": ("b",), "test": ("c",)}
    assert banks["train"].images.shape == (3, 1, 1, 2)
    assert banks["train"].images[:, 0, 0].tolist() == [[42, 212], [128, 128], [212, 42]]
    assert banks["test"].images[:, 0, 0, 0].tolist() == [255] * 3  # sizes above all of training
    assert read_table(tmp_path / "table.csv", "label")[1]["b"] == [[6, 0], [8, -1], [10, -2]]


@pytest.mark.parametrize(
    ("content", "change", "message"),
    [
        (CSV, {"columns": 3}, "table: .* has 2 columns of numbers: type dataset.input_shape=\\[1,1,2\\]$"),
        (CSV, {"label": "kind"}, "without one column kind and others"),
        (CSV + "\nbig,c,1", {}, "line 11: its size is 'big', not a number"),
        (CSV + "\n2024_01,c,1", {}, "line 11: its size is '2024_01', not a number"),
        (CSV + "\nnan,c,1", {}, "line 11: its size is 'nan', not a number"),
        (CSV + "\n1,c", {}, "line 11: it has 2 fields, not 3"),
        (CSV + "\n1,,2", {}, "line 11: its label is empty"),
        (CSV + "\n1,d,2", {}, "has 1 classes with a single row, but needs two of each: d"),
        (CSV + "\n1,a ,2", {}, "1 classes have names that differ only in blanks .*: 'a' and 'a '$"),
        (",label,age\n0,a,3\n1,a,4", {}, "its column 1 has no name; if it numbers the rows, it may give the classes"),
        (
            "Id,label\n7,a\n8,a\n9,b\n10,b",
            {},
            "its column Id numbers the rows, which are sorted by class, so it gives the classes away: delete",
        ),
        ("size,label,size\n0,a,3\n1,a,4", {}, "its header has size twice"),
        ("size,label,age", {}, "has no rows"),
        ("", {}, "its header is '', without one column label and others"),
        ("x" * 200_000 + CSV, {}, "line 1: a field has more than 131,072 characters; shorten it"),
        ('"size' + CSV, {}, "table: .* is not such a table \\(line "),
    ],
)
def test_a_fault_of_the_file_is_one_line(tmp_path: Path, content: str, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(tmp_path, content, **change).load()


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_every_line_end_and_a_quoted_header_are_read(tmp_path: Path, end: str) -> None:
    (tmp_path / "table.csv").write_bytes(CSV.replace("label", '"label"').replace("\n", end).encode())
    assert read_table(tmp_path / "table.csv", "label")[1]["b"] == [[6, 0], [8, -1], [10, -2]]


def test_a_column_that_counts_beside_mixed_classes_is_read(tmp_path: Path) -> None:
    rows = [f"{1990 + number},{'ab'[number % 2]}" for number in range(6)]
    (tmp_path / "table.csv").write_text("\n".join(["year,label", *rows]))
    assert read_table(tmp_path / "table.csv", "label")[1]["b"] == [[1991], [1993], [1995]]


def test_an_input_that_is_no_row_is_refused() -> None:
    with pytest.raises(ValueError, match="it must be \\[1, 1, number of columns\\]"):
        Table("x.csv", label="label", manifest="m", split=[1, 0, 0], split_seed=0, input_shape=[3, 84, 84])
