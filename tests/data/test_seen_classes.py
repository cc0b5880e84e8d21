"""Results on classes seen in pretraining: in the record, on the console and in each table."""

from typing import Any

import pytest
from conftest import REPOSITORY, resolved
from run_folders import result, runs

from metalearn.data.seen import seen_in_pretraining
from metalearn.formats import pretraining
from metalearn.report.comparing.comparison import compare
from metalearn.report.sheet import Sheet
from metalearn.report.tables import tables
from metalearn.run.command.allowed import locate

IN_IMAGENET = {
    "mini_imagenet": "all",
    "tiered_imagenet": "all",
    "cub": "some",
    "cifar_fs": "some",
    "fc100": "some",
    "omniglot": "none",
    "glyphs": "none",
    "mnist": "none",
    "folder": "unknown",
}


@pytest.mark.parametrize("dataset", IN_IMAGENET)
def test_a_data_set_says_how_many_of_its_classes_are_of_imagenet(dataset: str) -> None:
    target = locate(resolved(f"dataset={dataset}")["dataset"]["_target_"], "dataset")
    for pretrained_on in ("imagenet-1k", "imagenet-21k"):
        assert seen_in_pretraining(target, pretrained_on) == IN_IMAGENET[dataset]
    assert seen_in_pretraining(target, "lvd-142m") == seen_in_pretraining(target, "unknown") == "unknown"
    assert seen_in_pretraining(target, None) is None


def pretrained(dataset: str, seen: str, **more: Any) -> dict[str, Any]:
    return result(dataset=dataset, backbone="lite0", steps=0, pretrained_on="imagenet-1k", seen_in_pretraining=seen,
                  **more)  # fmt: skip


def notes(sheet: Sheet) -> dict[str, str]:
    return {note.mark: note.text for note in sheet.notes if note.mark}


def test_each_table_marks_results_on_classes_that_were_seen() -> None:
    comparison = compare(runs(pretrained("mini", "all"), pretrained("omniglot", "none"), result(dataset="omniglot")))
    sheet = tables.settings(comparison)
    marks = {cell.mark for row in sheet.rows for cell in row if "±" in cell.text}
    seen = [mark for mark in marks if "†" in mark]
    assert len(marks) == 3 and len(seen) == 1
    told = notes(sheet)
    assert "pretrained on imagenet-1k, which holds all test classes" in told[seen[0]]
    assert "trained on nothing" in told[seen[0]]
    assert told["†"] == "the pretraining has seen test classes, or may have"
    details = tables.details(comparison)
    column = details.head.index("pretrained on")
    assert sorted(row[column].text for row in details.rows) == [
        "-", "imagenet-1k, which holds all test classes", "imagenet-1k, which holds none of the test classes",
    ]  # fmt: skip


@pytest.mark.parametrize(("seen", "marked"), [("all", True), ("some", True), ("unknown", True), ("none", False)])
def test_a_table_of_one_protocol_is_marked_too(seen: str, marked: bool) -> None:
    other = pretrained("mini", seen, algorithm="matching")
    sheet = tables.settings(compare(runs(pretrained("mini", seen), other)))
    assert {cell.mark for row in sheet.rows for cell in row[1:]} == ({"†"} if marked else {""})
    assert ("†" in notes(sheet)) == marked
    assert f"pretrained on {pretraining('imagenet-1k', seen)}" in sheet.notes[0].text


def test_the_pages_name_the_fields() -> None:
    page = (REPOSITORY / "docs/pretrained.md").read_text()
    assert "`pretrained_on`" in page and "`seen_in_pretraining`" in page
