"""Runs of one config are one row, and those of one command before and after an edit are two."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from run_folders import leave, result

from metalearn.report.comparing.comparison import Comparison, compare
from metalearn.report.reading.runs import find
from metalearn.report.tables import tables

SLOW, FAST = "a" * 64, "b" * 64
PARTS = {"dataset": "classes.csv", "test_dataset": "test_classes.csv"}


def compared(folder: Path, *runs: dict[str, Any]) -> Comparison:
    """Compares runs with these fields; `optimizer` is not a field, but part of the config."""
    for i, fields in enumerate(runs):
        optimizer = fields.pop("optimizer", None)
        run = leave(folder / str(i), result(**{"seed": i, "overrides": ["experiment=mine"], **fields}))
        if optimizer is not None:
            (run / ".hydra").mkdir()
            (run / ".hydra/config.yaml").write_text(yaml.safe_dump({"seed": i, "optimizer": optimizer}))
    return compare(find([folder]).runs)


def rows(comparison: Comparison) -> list[str]:
    return [row[0].text for row in tables.settings(comparison).rows]


def test_an_edited_setting_separates_runs_and_names_their_rows(tmp_path: Path) -> None:
    slow = [{"config_sha256": SLOW, "optimizer": {"lr": 0.001}} for _ in range(2)]
    comparison = compared(tmp_path, *slow, {"config_sha256": FAST, "optimizer": {"lr": 0.5, "momentum": True}})
    assert [len(cell.runs) for cell in comparison.cells] == [2, 1]
    assert rows(comparison) == [
        "prototypical optimizer.lr=0.001 optimizer.momentum=null",
        "prototypical optimizer.lr=0.5 optimizer.momentum=true",
    ]


def test_a_row_has_the_hash_where_its_settings_are_lost_or_many(tmp_path: Path) -> None:
    lost = compared(tmp_path / "lost", {"config_sha256": SLOW}, {"config_sha256": FAST})
    assert rows(lost) == ["prototypical config=aaaaaaaa", "prototypical config=bbbbbbbb"]
    many = {"config_sha256": FAST, "optimizer": dict.fromkeys("abcd", 1)}
    other = {"config_sha256": SLOW, "optimizer": dict.fromkeys("abcd", 2)}
    named = "prototypical optimizer.a={0} optimizer.b={0} optimizer.c={0} config={1}"
    expected = {named.format(1, "bbbbbbbb"), named.format(2, "aaaaaaaa")}
    assert set(rows(compared(tmp_path / "many", many, other))) == expected


@pytest.mark.parametrize("hashes", [(SLOW, SLOW, SLOW), (None, SLOW, SLOW), (None, None, None)])
def test_equal_and_unknown_configs_stay_one_row(tmp_path: Path, hashes: tuple[str | None, ...]) -> None:
    (cell,) = compared(tmp_path, *({"config_sha256": hashed} for hashed in hashes)).cells
    assert len(cell.runs) == 3


def test_a_path_with_and_without_quotes_is_one_setting(tmp_path: Path) -> None:
    typed = ["backbone.vectors=/data/glove.txt", "backbone.vectors='/data/glove.txt'"]
    (cell,) = compared(tmp_path, *({"overrides": [override]} for override in typed)).cells
    assert cell.method.overrides == ("backbone.vectors=/data/glove.txt",)
    assert len(cell.runs) == 2


def test_seeds_differ_in_the_files_of_their_splits(tmp_path: Path) -> None:
    """A test names the split of its training; a training draws its own."""
    splits = [[f"{part}.manifest='/o/run{seed}/{name}'" for part, name in PARTS.items()] for seed in (0, 1)]
    tests = [[*of_run, f"checkpoint=run{seed}/checkpoints/best.ckpt"] for seed, of_run in enumerate(splits)]
    (cell,) = compared(tmp_path / "runs", *({"overrides": overrides} for overrides in (*tests, []))).cells
    assert len(cell.runs) == 3
    lists = [{"overrides": [f"dataset.manifest=/{name}/classes.csv"]} for name in ("few", "many")]
    assert len(compared(tmp_path / "lists", *lists).cells) == 2


def test_a_test_does_not_name_the_setting_of_its_training(tmp_path: Path) -> None:
    """A test has the hash of its training, but the config of the files at its own time."""
    slow = {"config_sha256": SLOW, "optimizer": {"lr": 0.001}}
    test = {"config_sha256": SLOW, "optimizer": {"lr": 0.5}, "seconds": {"fit": None, "test": 1.0}, "seed": 1}
    fast = {"config_sha256": FAST, "optimizer": {"lr": 0.5}}
    comparison = compared(tmp_path, test, slow, fast)
    assert set(rows(comparison)) == {"prototypical optimizer.lr=0.001", "prototypical optimizer.lr=0.5"}


def placed(folder: Path, *runs: tuple[list[str], dict[str, Any]]) -> list[int]:
    """Counts the runs of each row; a run has typed overrides, and a config from files."""
    for i, (overrides, config) in enumerate(runs):
        run = leave(folder / str(i), result(seed=i, overrides=overrides, config_sha256=SLOW))
        (run / ".hydra").mkdir()
        (run / ".hydra/config.yaml").write_text(yaml.safe_dump({"seed": i, "optimizer": {"lr": 0.001}, **config}))
    return [len(cell.runs) for cell in compare(find([folder]).runs).cells]


def test_one_config_is_one_row_whether_it_was_typed_or_comes_from_a_file(tmp_path: Path) -> None:
    typed = ["optimizer.lr=0.001", "trainer.max_steps=7"]
    first, second = ({"config_sha256": SLOW, "overrides": typed, "optimizer": {"lr": 0.001}} for _ in range(2))
    from_a_file = {"config_sha256": SLOW, "optimizer": {"lr": 0.001}}
    (cell,) = compared(tmp_path, first, from_a_file, second).cells
    assert [run.result.seed for run in cell.runs] == [0, 1, 2]
    assert (cell.method.overrides, cell.protocol.overrides) == (("optimizer.lr=0.001",), ("trainer.max_steps=7",))


def test_a_name_is_the_shortest_where_each_is_of_one_run(tmp_path: Path) -> None:
    typed = {"overrides": ["optimizer.lr=0.001", "trainer.max_steps=7"]}
    both = ({"config_sha256": SLOW, "optimizer": {"lr": 0.001}, **fields} for fields in (typed, {}))
    (cell,) = compared(tmp_path, *both).cells
    assert (cell.method.overrides, cell.protocol.overrides) == (("experiment=mine",), ())


def test_names_of_one_hash_stay_apart_where_no_config_is_left(tmp_path: Path) -> None:
    typed = {"config_sha256": SLOW, "overrides": ["optimizer.lr=0.001"]}
    assert [len(cell.runs) for cell in compared(tmp_path, typed, {"config_sha256": SLOW}).cells] == [1, 1]


@pytest.mark.parametrize(
    "override",
    [
        "dataset.root=elsewhere",
        "test_dataset.root=elsewhere",
        "trainer.precision=bf16-mixed",
        "evaluation.folds=10",
        "evaluation.further.unknown=9",
    ],
)
def test_what_a_hash_is_not_of_still_separates_rows(tmp_path: Path, override: str) -> None:
    typed = ["optimizer.lr=0.001"]
    assert placed(tmp_path, (typed, {}), ([*typed, override], {})) == [1, 1]


@pytest.mark.parametrize(
    ("first", "second", "rows"),
    [
        ({"dataset": {"root": "birds"}}, {"dataset": {"root": "plants"}}, [1, 1]),
        ({"dataset": {"root": "birds"}}, {"dataset": {"root": str(Path("birds").absolute())}}, [2]),
        ({"dataset": {"manifest": "a.csv"}}, {"dataset": {"manifest": "b.csv"}}, [1, 1]),
        ({"test_dataset": {"root": "birds"}}, {"test_dataset": None}, [1, 1]),
        ({"evaluation": {"further": {"unknown": 2}}}, {"evaluation": {"further": {"unknown": 5}}}, [1, 1]),
        ({"dataset": {"root": 2024, "url": "x"}}, {"dataset": {"url": "x", "root": 2024}}, [2]),
        ({"evaluation": {"further": {}}}, {}, [2]),
        ({"evaluation": {"settings": []}, "logger": {"wandb": {}}}, {"evaluation": {"settings": ["20w1s"]}}, [2]),
    ],
)
def test_files_that_set_what_a_hash_is_not_of_separate_rows(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], rows: list[int]
) -> None:
    assert placed(tmp_path, (["experiment=first"], first), (["experiment=second"], second)) == rows


def test_a_name_is_never_that_of_other_data(tmp_path: Path) -> None:
    birds, plants = ({"dataset": {"root": root}} for root in ("birds", "plants"))
    first, second = ["experiment=first"], ["experiment=second"]
    assert sorted(placed(tmp_path, (first, birds), (first, plants), (second, birds))) == [1, 2]


def test_the_splits_of_tested_runs_do_not_separate_rows(tmp_path: Path) -> None:
    def tested(words: str, seed: int) -> tuple[list[str], dict[str, Any]]:
        split = f"/runs/{seed}/classes.csv"
        typed = [words, f"checkpoint='/runs/{seed}/checkpoints/best.ckpt'", f"dataset.manifest='{split}'"]
        return typed, {"dataset": {"root": "/birds", "manifest": split}}

    words = ("optimizer.lr=0.001", "experiment=mine", "optimizer.lr=0.001")
    assert placed(tmp_path, *(tested(word, seed) for seed, word in enumerate(words))) == [3]


def test_a_callback_of_a_test_separates_it_from_its_training(tmp_path: Path) -> None:
    training = {"config_sha256": SLOW, "overrides": ["optimizer.lr=0.001"], "optimizer": {"lr": 0.001}}
    own = [*training["overrides"], "+callbacks.mine._target_=mine.OfATest"]
    test = training | {"overrides": own, "seconds": {"fit": None, "test": 1.0}}
    assert [len(cell.runs) for cell in compared(tmp_path, training, test).cells] == [1, 1]
