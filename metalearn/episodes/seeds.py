"""Seeds of the random numbers of episodes: each purpose has a stream of its own.

numpy seeds (a, b, c, 0) as (a, b, c), so a stream of one number is not (0,); from the fifth number
on, zeros count. BASE_CLASSES are of meta-train, and PAIRS, with the same numbers, of meta-test.
"""

import numpy as np

from metalearn.types import SPLITS, Split

Stream = tuple[int, ...]

ROWS: Stream = ()
SHAPE: Stream = (1,)
AUGMENTATION: Stream = (0, 0)
BASE_CLASSES: Stream = (0, 0, 0)
PAIRS: Stream = (0, 0, 0)
QUERIES: Stream = (0, 0, 1)
TIES: Stream = (0, 0, 2)


def generator(seed: int, split: Split, index: int, stream: Stream = ROWS) -> np.random.Generator:
    """Returns the generator of an episode or a batch, by its number in a split."""
    return np.random.default_rng([seed, SPLITS.index(split), index, *stream])
