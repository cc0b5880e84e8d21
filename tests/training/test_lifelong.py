"""Life-long evaluation of a memory: scorers known by hand, its streams, and its refusals."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from embedded_tasks import Flat

from metalearn.algorithms.key_value_memory import KeyValueMemory
from metalearn.algorithms.prototypical import Prototypical
from metalearn.data.bank import ClassBank
from metalearn.episodes.setting import Setting
from metalearn.training.evaluations.base import MetaTest
from metalearn.training.evaluations.lifelong import Lifelong, accuracy_by_count

CLASSES, EACH = 6, 4


class Pixels(Flat):
    """Backbone whose embedding is the image itself."""

    def forward(self, x: torch.Tensor, rows: object = None) -> torch.Tensor:
        return x.flatten(1)


def memory(slots: int = 99, batch_norm: Any = "running") -> KeyValueMemory:
    algorithm = KeyValueMemory(
        Pixels(CLASSES), slots=slots, margin=0.1, inverse_temperature=40.0, batch_norm=batch_norm
    )
    algorithm.register_parameter("scale", torch.nn.Parameter(torch.ones(())))  # gives the type of the weights
    return algorithm.eval()


def of(*, chance: bool = False, slots: int = 99, shot: int = 1) -> MetaTest:
    """Builds a memory over images that have one value for each class, or all the same by chance."""
    images = np.full((CLASSES, EACH, 1, 1, CLASSES), 255 if chance else 0, dtype=np.uint8)
    images[np.arange(CLASSES), :, 0, 0, np.arange(CLASSES)] = 255
    bank = ClassBank.from_classes(images, [str(c) for c in range(CLASSES)])
    return MetaTest(memory(slots), bank, Setting(2, shot, 2), torch.device("cpu"))


def means(meta_test: MetaTest, **settings: int) -> dict[str, float]:
    evaluation = Lifelong(**{"num_streams": 3, "classes": CLASSES, "rounds": EACH // meta_test.setting.shot} | settings)
    evaluation.check(meta_test)
    with torch.no_grad():
        scored = evaluation(meta_test)
    assert scored.curve.x == [float(count) for count in range(1, EACH)]
    return {name: score.mean for name, score in scored.scores.items()}


def test_the_memory_works_in_the_precision_of_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    follow, is_open, seen = KeyValueMemory.follow, list[bool](), list[bool]()

    @contextmanager
    def opened() -> Iterator[None]:
        is_open.append(True)
        yield
        is_open.pop()

    def followed(self: KeyValueMemory, *rows: torch.Tensor) -> torch.Tensor:
        seen.append(bool(is_open))
        return follow(self, *rows)

    monkeypatch.setattr(KeyValueMemory, "follow", followed)
    assert means(of()._replace(precision=opened)) == means(of())
    assert seen == [True, False]


@pytest.mark.parametrize("shot", [1, 2])
@pytest.mark.parametrize(("chance", "accuracy"), [(False, 1.0), (True, 1 / CLASSES)])
def test_a_perfect_and_a_chance_memory(chance: bool, accuracy: float, shot: int) -> None:
    found = means(of(chance=chance, shot=shot))
    assert set(found) == {"accuracy_after_1", "accuracy_after_all", "mean_accuracy"}
    if shot == 1 or not chance:  # by chance, a second row of an episode precedes other classes
        assert found == pytest.approx(dict.fromkeys(found, accuracy))


def test_a_memory_of_few_slots_forgets() -> None:
    few, more, enough = (means(of(slots=slots))["mean_accuracy"] for slots in (1, CLASSES - 2, CLASSES))
    assert few < more < enough == 1


def test_accuracy_by_count_by_hand() -> None:
    ways = torch.tensor([[0, 1, 1, 0]])
    answers = torch.tensor([[1, 1, 0, 0]])  # first rows: wrong, right; second rows: wrong, right
    scores = torch.nn.functional.one_hot(answers, 2).float()
    assert accuracy_by_count(scores, ways).tolist() == [[0.5, 0.5]]
    assert accuracy_by_count(scores, torch.tensor([[1, 0, 1, 0]])).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("shot", [1, 2])
def test_a_stream_shows_each_row_once_and_all_classes_of_a_round_before_the_next(shot: int) -> None:
    meta_test = of(shot=shot)
    evaluation = Lifelong(num_streams=1, classes=5, rounds=2)
    rows, ways = evaluation.stream(meta_test, 0)
    assert len(set(rows.tolist())) == len(rows) == 5 * 2 * shot
    classes = rows // EACH
    assert len(set(zip(classes.tolist(), ways.tolist(), strict=True))) == 5
    for part in ways.view(2, -1):
        assert part.bincount().tolist() == [shot] * 5
        assert all(len(episode.unique()) <= 2 for episode in part.split(2 * shot))
    assert torch.equal(evaluation.stream(meta_test, 0)[0], rows)
    assert not torch.equal(evaluation.stream(meta_test, 1)[0], rows)


def test_what_cannot_be_kept_is_refused() -> None:
    evaluation, good = Lifelong(num_streams=1, classes=CLASSES, rounds=EACH), of()
    small = replace(good.bank, rows=good.bank.rows[:2], names=good.bank.names[:2])
    other = Prototypical(Pixels(CLASSES), temperature=0.1, batch_norm="running")
    for changed, message in (
        (good._replace(algorithm=other), "which Prototypical lacks: use algorithm=key_value_memory"),
        (good._replace(setting=Setting(2, 2, 2)), "needs 6 meta-test classes of 8 rows; there are 0: lower"),
        (good._replace(algorithm=other, bank=small), "which Prototypical lacks: use algorithm=key_value_memory"),
        (good._replace(bank=small), "needs 6 meta-test classes, but there are 2: lower evaluation.further.classes$"),
        (good._replace(setting=Setting((2, 3), 1, 2)), "not ranges"),
        (good._replace(setting=Setting(2, 1, 2, queries="unequal")), "leave episode.test.queries equal"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.check(changed)
    for classes, rounds in ((2, 1), (1, 2)):  # a single class is always right
        with pytest.raises(ValueError, match=f"classes={classes} and rounds={rounds} at least 2"):
            Lifelong(num_streams=1, classes=classes, rounds=rounds)
