"""Labels of a learner: kept as they were given, or refused."""

from decimal import Decimal
from enum import Enum, IntEnum, StrEnum

import numpy as np
import pytest
import torch
from learners import learner, pictures

from metalearn import Learner
from metalearn.learner import labels as of_labels

SUPPORT = pictures(1)[0]
Text, Mixed, Number = StrEnum("Text", "A B"), Enum("Mixed", {"A": "a", "B": "b"}, type=str), IntEnum("Number", "A B")


class Missing:
    """An object that cannot be compared, as the NA of pandas."""

    def __ne__(self, other: object) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __hash__(self) -> int:
        return 0

    def __str__(self) -> str:
        return "<NA>"


@pytest.mark.parametrize(
    ("missing", "shown"),
    [
        (float("nan"), "nan"),
        (np.float32("nan"), "nan"),
        (torch.tensor(float("nan")), "nan"),
        (Decimal("nan"), "NaN"),
        (np.datetime64("NaT"), "NaT"),
        (Missing(), "<NA>"),
    ],
    ids=["float", "numpy", "tensor", "decimal", "time", "pandas"],
)
def test_a_missing_label_is_refused(tmp_path, missing, shown: str) -> None:
    ours = learner(tmp_path)
    with pytest.raises(ValueError, match=rf"the label of image 3 is missing \({shown}\)"):
        ours.fit(SUPPORT, [1.0, 2.0, 1.0, missing])
    with pytest.raises(ValueError, match=rf"the label is missing \({shown}\)"):
        ours.fit(SUPPORT, [1.0, 2.0, 1.0, 2.0]).add_class(missing, SUPPORT)


def test_missing_labels_of_pandas_are_refused(tmp_path) -> None:
    pandas = pytest.importorskip("pandas")
    for missing in (pandas.NA, pandas.NaT):
        with pytest.raises(ValueError, match="the label of image 3 is missing"):
            learner(tmp_path).fit(SUPPORT, pandas.Series(["a", None, "b", missing], dtype=object))


@pytest.mark.parametrize(
    "labels",
    [
        [1, 2**63, 2**63 + 1],
        [1, 2**70],
        [np.uint64(2**63 + 1), 2**63 + 2, 1],
        ["a\0", "a"],
        ["a", np.str_("b")],
        [True, False],
        [0.5, np.float32(0.1)],
        [np.int8(3), 4],
    ],
    ids=repr,
)
def test_an_array_holds_the_labels_as_given(labels) -> None:
    found = of_labels.vector(labels)
    assert found.tolist() == labels
    assert [isinstance(label, float) for label in found.tolist()] == [
        isinstance(label, float | np.floating) for label in labels
    ]


def test_classes_that_a_float_cannot_distinguish_stay_apart(tmp_path) -> None:
    labels = [2**63, 2**63 + 1, 1, 2]
    ours = learner(tmp_path).fit(SUPPORT, labels)
    assert ours.classes_.tolist() == sorted(labels) and ours.score(SUPPORT, labels) == 1


@pytest.mark.parametrize("kind", [Text, Mixed, Number])
def test_labels_whose_class_would_be_loaded_are_not_saved(tmp_path, kind) -> None:
    ours = learner(tmp_path).fit(SUPPORT[:2], [kind.A, kind.B])
    assert ours.predict(SUPPORT[:2]).tolist() == [kind.A, kind.B]
    (tmp_path / "saved.pt").write_text("older")
    with pytest.raises(ValueError, match=rf"is a {kind.__name__}: texts, numbers and tuples can be saved"):
        ours.save(tmp_path / "saved.pt")
    assert (tmp_path / "saved.pt").read_text() == "older"


def test_saved_labels_are_loaded_as_they_were(tmp_path) -> None:
    labels = [np.str_("a"), 2**70, ("a", (np.int8(3), None)), b"a\0"]
    learner(tmp_path).fit(SUPPORT, labels).save(tmp_path / "saved.pt")
    assert Learner.load(tmp_path / "saved.pt").classes_.tolist() == labels


def test_a_label_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="^the label of image 0 is a list: give one word or number$"):
        of_labels.listed([["a"]], 1)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "labels", ["ab", b"ab", {"1.png": "a", "2.png": "b"}, {"a", "b"}], ids=lambda labels: type(labels).__name__
)
def test_labels_without_an_order_of_their_own_are_refused(labels) -> None:
    with pytest.raises(ValueError, match=f"^labels are a {type(labels).__name__}; give a list, with one for each"):
        of_labels.listed(labels, 2)
