"""The oracle of cloze: probabilities by hand, and a model that has not seen the asked sentence."""

import math
from collections import Counter

import cloze_oracle as oracle
import pytest

from metalearn.data.text.tokens import BLANK

SENTENCES = [["the", "cat", "sleeps"], ["the", "dog", "barks"], ["a", "cat", "sleeps"], ["a", "dog", "barks"]]


def test_a_probability_by_hand() -> None:
    model = oracle.Trigrams(SENTENCES, weight=0.5)
    # The 16 words have 7 kinds, with the end. "the" is one of 8, and "cat" follows it once in two.
    the = 0.5 / 8 + 0.5 / 7
    cat = 0.5 / 2 + 0.5 * the
    end = 0.5**2 * (0.5 / 4 + 0.5 / 7)  # follows neither "the cat" nor "cat"
    found = model.log_probability(["the", "cat"], range(3), Counter())
    assert found == pytest.approx(math.log(the) + math.log(cat) + math.log(end))


def test_probabilities_of_a_word_sum_to_one_in_every_context() -> None:
    model = oracle.Trigrams(SENTENCES, weight=0.7)
    words = {oracle.END, *(word for words in SENTENCES for word in words)}
    for history in ((), ("the",), ("the", "cat"), ("cat", "sleeps"), ("absent", "the"), ("absent",)):
        assert sum(model.probability((*history, word), Counter()) for word in words) == pytest.approx(1)


def test_the_asked_sentence_counts_for_nothing() -> None:
    model, others = oracle.Trigrams(SENTENCES, weight=0.5), oracle.Trigrams(SENTENCES[1:], weight=0.5)
    own = Counter(oracle._sequences(SENTENCES[0]))
    asked = ["the", "cat", "barks"]
    expected = others.log_probability(asked, range(4), Counter())
    assert model.log_probability(asked, range(4), own) == pytest.approx(expected)


def test_the_likeliest_word_is_the_answer() -> None:
    model = oracle.Trigrams(SENTENCES, weight=0.5)
    assert oracle.answer(model, f"the {BLANK} sleeps", "cat", ["dog", "cat"]) == "cat"  # from "a cat sleeps" alone
    assert oracle.answer(model, f"{BLANK} dog barks", "a", ["the", "cat", "a"]) == "the"
    assert oracle.answer(model, f"a {BLANK} barks", "dog", ["dog", "cat"]) == "dog"
