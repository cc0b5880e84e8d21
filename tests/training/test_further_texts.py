"""Evaluations beside the accuracy on texts, whose inputs are whole numbers."""

import numpy as np
import pytest
import torch

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.key_value_memory import KeyValueMemory
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.bag_of_ngrams import BagOfNgrams
from metalearn.backbones.text_cnn import TextCNN
from metalearn.data.bank import ClassBank
from metalearn.episodes.setting import Setting
from metalearn.training.evaluations.base import AbstractEvaluation, MetaTest
from metalearn.training.evaluations.incremental import Incremental
from metalearn.training.evaluations.lifelong import Lifelong
from metalearn.training.evaluations.open_set import OpenSet

CLASSES, EACH = 6, 3
NGRAMS = BagOfNgrams(30, width=1 << 16, longest=1)


def maml() -> MAML:
    return MAML(
        TextCNN(30, width=4, maps=4, windows=[2]),
        way=2,
        inner_lr=0.1,
        inner_loop=InnerLoop(steps=1, test_steps=1),
        batch_norm="running",
    )


def memory() -> KeyValueMemory:
    return KeyValueMemory(NGRAMS, slots=99, margin=0.1, inverse_temperature=40.0, batch_norm="running")


@pytest.mark.parametrize(
    ("evaluation", "algorithm", "perfect"),
    [
        (Incremental(num_episodes=2, sessions=2), maml(), False),
        (OpenSet(num_episodes=2, unknown=2), Prototypical(NGRAMS, temperature=0.1, batch_norm="running"), True),
        (Lifelong(num_streams=2, classes=CLASSES, rounds=EACH), memory(), True),
    ],
)
def test_texts_are_evaluated_as_ids(
    evaluation: AbstractEvaluation, algorithm: AbstractAlgorithm, perfect: bool
) -> None:
    ids = torch.arange(1, CLASSES + 1, dtype=torch.int32).repeat_interleave(EACH)  # a word for each class
    rows = tuple(np.arange(CLASSES * EACH).reshape(CLASSES, EACH))
    texts = tuple(map(str, ids.tolist()))
    bank = ClassBank(torch.stack([ids, ids * 0 + 20], dim=1), rows, tuple("abcdef"), texts=texts)
    meta_test = MetaTest(algorithm.eval(), bank, Setting(2, 1, 2), torch.device("cpu"))
    evaluation.check(meta_test)
    with torch.no_grad():
        scores = evaluation(meta_test).scores
    assert all(0 <= score.mean <= 1 for score in scores.values())
    if perfect:
        assert all(score.mean == 1 for name, score in scores.items() if "accuracy" in name)
