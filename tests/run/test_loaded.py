"""Banks of an own data set have the shape of inputs that their config states."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from origins import facts

from metalearn.data.bank import ClassBank
from metalearn.data.files.preparation import Preparation
from metalearn.run import loaded
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.origin import Origin
from metalearn.run.plan import Plan

SPLITS = ("train", "val", "test")


def images(name: str, size: int = 8, *, grey: int = 9) -> ClassBank:
    return ClassBank.from_classes(np.full((2, 3, 1, size, size), grey, dtype=np.uint8), [f"{name}a", f"{name}b"])


class Own(Mapping[str, Any]):
    """Own data set whose splits are read at their first use; `None` cannot be read."""

    def __init__(self, bits: int = 16, **banks: Any) -> None:
        self.banks, self.preparation = banks, Preparation((1, 8, 8), bits=bits)

    def load(self) -> Mapping[str, Any]:
        return self

    def __getitem__(self, split: str) -> Any:
        bank = self.banks[split]
        assert bank is not None, "a test reads meta-test alone"
        return bank

    def __iter__(self) -> Iterator[str]:
        return iter(self.banks)

    def __len__(self) -> int:
        return len(self.banks)


def load(
    monkeypatch: pytest.MonkeyPatch,
    *,
    mode: str = "train",
    shape: Any = (1, 8, 8),
    bits: tuple[int, int] = (16, 16),
    other_name: str = "own",
    **banks: Any,
) -> None:
    """Loads an own data set; `other` is the bank of a test_dataset of 1 x 8 x 8.

    The first number of `bits` is that of the own data set, the second that of the other.
    """
    monkeypatch.setattr(loaded, "instantiate", lambda part: part["source"])
    other = banks.pop("other", None)
    config = {
        "dataset": {"source": Own(bits[0], **banks)} | ({} if shape is None else {"input_shape": list(shape)}),
        "test_dataset": other and {"source": Own(bits[1], test=other), "input_shape": [1, 8, 8]},
        "evaluation": {"folds": None},
        "mode": mode,
        "train_split": None,
        "checkpoint": None,
        "pretrained": None,
        "resume": None,
    }
    plan = Plan(config, RunFolder(Path("out")), {}, {"dataset": "own"}, other_name, None, [], [], Path())
    loaded.load_data(plan)


@pytest.mark.parametrize(("bits", "look"), [(16, "darker"), (10, "brighter"), (12, None)])
def test_other_bits_than_those_of_the_training_are_a_warning(
    bits: int, look: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    white = f"own: white is {2**bits - 1} in these images of 16 bits and was 4095 in the training"
    expected = [f"{white}, so they look {look}"] if look else []
    load(monkeypatch, bits=(12, bits), other=images("other"), **{name: images(name) for name in SPLITS})
    assert caplog.messages == (expected if bits != 16 else [])  # 16 may stand for bytes there
    caplog.clear()
    monkeypatch.setattr(Plan, "origin", Origin(**facts(dataset="own", preparation={"bits": 12})))
    load(monkeypatch, mode="test", bits=(bits, 16), test=images("test"))
    load(monkeypatch, mode="test", bits=(9, bits), other=images("other"), test=images("test"))
    assert caplog.messages == 2 * expected


@pytest.mark.parametrize(("grey", "inverted"), [(250, True), (5, True), (250, False)])
def test_paper_is_a_warning_where_the_training_inverted_it(
    grey: int, inverted: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    how = {"invert": inverted, "bits": 16}
    monkeypatch.setattr(Plan, "origin", Origin(**facts(preparation=how)))
    load(monkeypatch, mode="test", test=images("test", grey=grey))
    line = "own: its images are bright, and those of the training were inverted: set its argument invert=true"
    assert caplog.messages == ([line] if grey == 250 and inverted else [])


def test_bytes_of_another_data_set_are_no_other_white(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    banks = {name: images(name) for name in SPLITS}
    load(monkeypatch, bits=(16, 12), other=images("other"), other_name="folder", **banks)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (None, "a NoneType"),
        ([images("train")], "a list"),
        ({}, r"the keys \[\]"),
        ({"training": images("train"), "test": images("test")}, r"the keys \['training', 'test'\]"),
    ],
)
def test_what_are_no_splits_is_refused(returned: Any, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "load", lambda self: returned)
    with pytest.raises(ValueError, match=rf"^load\(\) of Own returns {found}: .* keys \['train', 'val', 'test'\]"):
        load(monkeypatch)


def test_a_split_that_is_no_bank_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^dataset: load\(\) gives a ndarray for split 'val': it must be a ClassBank"):
        load(monkeypatch, train=images("train"), val=np.zeros(3), test=images("test"))


def test_further_splits_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, **{name: images(name) for name in (*SPLITS, "unlabeled")})


@pytest.mark.parametrize("split", SPLITS)
def test_images_of_another_shape_are_refused(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    banks = {name: images(name, 9 if name == split else 8) for name in SPLITS}
    message = rf"dataset.input_shape=\[1,8,8\], but the images of split '{split}' are \[1,9,9\]: type .*=\[1,9,9\]$"
    with pytest.raises(ValueError, match=message):
        load(monkeypatch, **banks)


def test_images_whose_channels_are_last_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    banks = {name: images(name) for name in SPLITS}
    last = banks["val"].images.permute(0, 2, 3, 1)
    banks["val"] = ClassBank(last, banks["val"].rows, banks["val"].names)
    with pytest.raises(ValueError, match=r"'val' are \[8,8,1\], \(H, W, C\): turn them to \[1,8,8\], \(C, H, W\)$"):
        load(monkeypatch, **banks)


def test_numbers_from_0_to_1_that_became_bytes_give_a_warning(monkeypatch, caplog) -> None:
    banks = {name: images(name, grey=255) for name in SPLITS}
    load(monkeypatch, **banks)
    assert "bytes" not in caplog.text
    banks["val"] = ClassBank((banks["val"].images / 255).round().byte(), banks["val"].rows, banks["val"].names)
    load(monkeypatch, **banks)
    assert "the images of split 'val' have no byte above 1 of 255: multiply numbers from 0 to 1 by 255" in caplog.text


def test_images_of_a_test_dataset_are_compared_with_its_own_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    banks = {name: images(name) for name in SPLITS}
    load(monkeypatch, **banks, other=images("other"))
    with pytest.raises(ValueError, match=r"^test_dataset.input_shape=\[1,8,8\], but .* split 'test' are \[1,9,9\]"):
        load(monkeypatch, **banks, other=images("other", 9))


def test_a_test_alone_reads_no_other_split(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, mode="test", train=None, val=None, test=images("test"))
    with pytest.raises(ValueError, match="of split 'test'"):
        load(monkeypatch, mode="test", train=None, val=None, test=images("test", 9))


def test_a_test_counts_no_base_classes_that_its_algorithm_does_not_need() -> None:
    plan: Any = SimpleNamespace(
        tests_only=True, origin=None, config={"num_base_classes": None, "algorithm": {"_target_": "x"}}
    )
    assert not loaded.num_base_classes(plan, Own(train=None, test=images("test")))
    plan.config["algorithm"]["num_base_classes"] = 2
    assert loaded.num_base_classes(plan, Own(train=images("train"))) == 2


def test_texts_functions_and_a_shape_that_is_not_stated_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (np.arange(3), np.arange(3, 6))
    texts = {name: ClassBank(torch.ones(6, 5, dtype=torch.int32), rows, (name, f"{name}2")) for name in SPLITS}
    load(monkeypatch, **texts)
    load(monkeypatch, **{name: SimpleNamespace(points=None) for name in SPLITS})
    load(monkeypatch, shape=None, **{name: images(name, 9) for name in SPLITS})
