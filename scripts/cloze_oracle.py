"""Scores an oracle on the test episodes of dataset=cloze, which it needs no support set for.

    python scripts/cloze_oracle.py brown.zip               # or any plain text
    python scripts/cloze_oracle.py brown.zip --weight 0.7  # meta-val, to choose the weight

The oracle is a language model of the whole text, meta-test included, as the upper bound of Vinyals
et al. 2016, section 4.2. It is a trigram model with the interpolation of Jelinek and Mercer 1980,
and not their LSTM. It puts each of the N words into the blank, and answers with the likeliest
sentence. The asked sentence itself does not count for the model: its trigrams are subtracted.
"""

import argparse
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from metalearn.data.bank import ClassBank
from metalearn.data.text.cloze import Cloze, read_sentences
from metalearn.data.text.tokens import BLANK, Encoding
from metalearn.episodes.loaders import EVALUATION_SEED
from metalearn.episodes.sampling import draw
from metalearn.episodes.setting import Shape
from metalearn.estimates import Estimate
from metalearn.stats import estimate
from metalearn.types import Split

ORDER = 3
"""Words of the longest counted sequence."""
WEIGHT = 0.3
"""Weight of the longer of two sequences: 54.06 % on meta-val; 0.5 and 0.7 have 53.78 %."""
END = "\n"
"""Word after the last one of a sentence."""
WAY, SHOT, QUERY = 5, 1, 5  # conf/problem/cloze.yaml

Words = Sequence[str]


class Trigrams:
    """Counts of all sequences of one to three words.

    Args:
        sentences: distinct sentences, as words.
        weight: weight of the longer of two sequences, 0 to 1.
    """

    def __init__(self, sentences: Iterable[Words], weight: float) -> None:
        self.weight = weight
        self.counts: Counter[tuple[str, ...]] = Counter()
        for words in sentences:
            self.counts.update(_sequences(words))
        self.num_words = sum(len(sequence) == 1 for sequence in self.counts)

    def log_probability(self, words: Words, places: Iterable[int], without: Counter[tuple[str, ...]]) -> float:
        """Computes the logarithm of the probability of the words at some places.

        The place after the last word is the end. The counts of the model exclude `without`.
        """
        longest = _longest(words)
        return sum(math.log(self.probability(longest[place], without)) for place in places)

    def probability(self, sequence: tuple[str, ...], without: Counter[tuple[str, ...]]) -> float:
        """Interpolates the probability of the last word: λ c(h, w) / c(h) + (1 - λ) p(w | h')."""
        if not sequence:
            return 1 / self.num_words
        history = sequence[:-1]
        shorter = self.probability(sequence[1:], without)
        seen = self.counts[history] - without[history]
        if seen <= 0:
            return shorter
        return self.weight * max(self.counts[sequence] - without[sequence], 0) / seen + (1 - self.weight) * shorter


def _longest(words: Words) -> list[tuple[str, ...]]:
    """Lists each word and the end, after the two words before it."""
    ended = (*words, END)
    return [ended[max(0, i - ORDER + 1) : i + 1] for i in range(len(ended))]


def _sequences(words: Words) -> Iterator[tuple[str, ...]]:
    """Yields all sequences of zero to three words, so that each word has its histories."""
    for longest in _longest(words):
        for begin in range(len(longest) + 1):
            yield longest[begin:]


def answer(model: Trigrams, text: str, missing: str, candidates: Sequence[str]) -> str:
    """Returns the candidate that makes a text with blanks likeliest."""
    blanked = text.split(" ")
    own = Counter(_sequences([missing if word == BLANK else word for word in blanked]))
    blanks = [i for i, word in enumerate(blanked) if word == BLANK]
    # All other places have the same trigrams with every candidate.
    places = sorted({i for blank in blanks for i in range(blank, min(blank + ORDER, len(blanked) + 1))})
    filled = {word: [word if other == BLANK else other for other in blanked] for word in candidates}
    return max(candidates, key=lambda word: model.log_probability(filled[word], places, own))


def accuracy(model: Trigrams, bank: ClassBank, split: Split, num_episodes: int) -> Estimate:
    """Scores the queries of the first episodes of a split."""
    word_of = {int(row): name for name, rows in zip(bank.names, bank.rows, strict=True) for row in rows}
    shape, scores = Shape((SHOT,) * WAY, (QUERY,) * WAY), []
    for index in range(num_episodes):
        episode = draw(bank.rows, shape, seed=EVALUATION_SEED, split=split, index=index)
        queries = episode.query_rows.tolist()
        candidates = sorted({word_of[row] for row in queries})
        right = [answer(model, bank.texts[row], word_of[row], candidates) == word_of[row] for row in queries]
        scores.append(sum(right) / len(right))
    return estimate(scores)


def load(root: str) -> dict[Split, ClassBank]:
    """Returns the banks of dataset=cloze with the values of conf/dataset/cloze.yaml."""
    encoding = Encoding(kind="words", num_tokens=50000, buckets=1000, words=None, tokenizer=None)
    with tempfile.TemporaryDirectory() as folder:
        manifest = str(Path(folder) / "classes.csv")
        settings = {"split": [0.8, 0.1, 0.1], "split_seed": 0, "sentences": 10, "input_shape": [32]}
        return Cloze(root, manifest=manifest, encoding=encoding, **settings).load()  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", metavar="FILE", help="brown.zip of NLTK's data, or a plain text")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--weight", type=float, help="score on meta-val with this weight")
    arguments = parser.parse_args()
    split: Split = "test" if arguments.weight is None else "val"
    try:
        banks = load(arguments.text)
        distinct = {tuple(words) for words in read_sentences(Path(arguments.text))}
    except (ValueError, OSError) as error:
        sys.exit(f"cloze_oracle: {error}")
    model = Trigrams(distinct, WEIGHT if arguments.weight is None else arguments.weight)
    score = accuracy(model, banks[split], split, arguments.episodes)
    print(f"{split}: {100 * score.mean:.2f} ± {100 * score.ci95:.2f} %, {score.num_episodes} episodes of {WAY}-way")


if __name__ == "__main__":
    main()
