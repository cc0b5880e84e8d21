"""The contract of a bank: the error for other content names the expected form."""

import copy
import logging
import mmap
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from metalearn.data.bank import ClassBank, class_names
from metalearn.data.overlap import warn_of_shared_classes

IMAGES = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
ROWS = (np.arange(3), np.arange(3, 6))
RULE = (
    "; a ClassBank has images (M, C, H, W) uint8, or texts (M, L) int32, and, for each class, its name and the "
    "rows of its images, each in one class"
)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"images": torch.zeros(6, 4)}, "images are torch.float32 (6, 4)"),
        ({"images": IMAGES.float()}, "images are torch.float32 (6, 1, 4, 4)"),
        ({"images": IMAGES[:, 0]}, "images are torch.uint8 (6, 4, 4)"),
        ({"images": IMAGES.numpy()}, "images are uint8 (6, 1, 4, 4)"),
        ({"images": [1]}, "images are list ()"),
        ({"texts": ("a", "b")}, "2 texts do not match 6 rows"),
        ({"names": ("a",)}, "1 names do not match the rows of 2 classes"),
        ({"names": (), "rows": ()}, "0 names do not match the rows of 0 classes"),
        ({"names": ("a", "a")}, "1 names are of two classes, such as 'a'"),
        ({"rows": (ROWS[0], ROWS[1][:0])}, "the class 'b' has the rows array([], dtype=int64), not int64 (n,)"),
        ({"rows": (ROWS[0], [3, 4])}, "the class 'b' has the rows [3, 4], not int64 (n,)"),
        (
            {"rows": (ROWS[0], np.array([3, 4], np.uint8))},
            "the class 'b' has the rows array([3, 4], dtype=uint8), not int64 (n,)",
        ),
        ({"rows": (ROWS[0], ROWS[1] + 1)}, "rows reach from 0 to 6, but there are 6 images"),
        ({"rows": (ROWS[0] - 1, ROWS[1])}, "rows reach from -1 to 5, but there are 6 images"),
        ({"rows": (ROWS[0], ROWS[0])}, "row 0 is listed 2 times"),
    ],
)
def test_what_is_no_bank_is_refused(change: dict[str, Any], fault: str) -> None:
    arguments: dict[str, Any] = {"images": IMAGES, "rows": ROWS, "names": ("a", "b")}
    ClassBank(**arguments)
    with pytest.raises(ValueError, match=".") as caught:
        ClassBank(**arguments | change)
    assert str(caught.value) == fault + RULE


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda bank: pickle.loads(pickle.dumps(bank))])
def test_a_mapped_bank_is_copied_with_its_images(copied: Callable[[ClassBank], ClassBank]) -> None:
    mapping = mmap.mmap(-1, 24)
    mapping.write(bytes(range(24)))
    images = torch.frombuffer(mapping, dtype=torch.uint8).view(6, 1, 2, 2)
    bank = ClassBank(images, (np.arange(3), np.arange(3, 6)), ("a", "b"), mapping)
    assert copied(bank).sha256() == bank.sha256()
    assert copied(bank).mapping is None


def test_images_of_another_shape_than_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^images are \(6, 1, 4, 4\), not \(classes, images of a class, C, H, W\)$"):
        ClassBank.from_classes(IMAGES.numpy(), ["a"])
    with pytest.raises(ValueError, match=r"^images are torch.float64 \(2, 1, 4, 4\); a ClassBank"):
        ClassBank.from_classes(np.zeros((2, 1, 1, 4, 4)), ["a", "b"])


@pytest.mark.parametrize("images", [list(IMAGES.numpy()), IMAGES[None]], ids=["list", "tensor"])
def test_classes_that_are_no_array_are_refused(images: Any) -> None:
    kind = type(images).__name__
    with pytest.raises(ValueError, match=rf"^images are a {kind}: give a numpy array \(classes, images of a class"):
        ClassBank.from_classes(images, ["a"])


def test_classes_that_were_trained_on_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_shared_classes(["a", "b"], ["c", "d"])
        assert not caplog.records
        warn_of_shared_classes(["a", "b", "c", "d", "e"], ["e", "d", "x", "c", "b"])
    (record,) = caplog.records
    assert record.getMessage() == ("4 of the 5 meta-test classes have names of training classes: b, c, d ...")
    assert warn_of_shared_classes(["a/rot000", "b/rot090"], ["a", "b"]) == 1  # the upright images of a class
    assert warn_of_shared_classes(["a"], ["a/rot000", "a/rot180"]) == 1
    assert class_names(ClassBank(IMAGES, ROWS, ("a", "b"))) == ["a", "b"] and class_names(None) == []
