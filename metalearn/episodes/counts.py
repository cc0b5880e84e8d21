"""Numbers of images of the classes of an episode, where they differ."""

import math
from collections.abc import Sequence

import numpy as np

MOST_SUPPORT = 500
"""Support images of an episode by Meta-Dataset's rule, at most."""


def dirichlet_queries(rng: np.random.Generator, total: int, available: Sequence[int]) -> tuple[int, ...]:
    """Draws the number of queries of each class, `total` in all, from a Dirichlet distribution.

    Its parameter is 2 for each class, as in Veilleux et al. 2021, section 3. A class may have none,
    and at most its `available` images.
    """
    shares = total * rng.dirichlet(np.full(len(available), 2.0))
    counts = np.zeros(len(available), int)
    for _ in range(total):  # gives the next query to the class that lacks most
        counts[np.where(counts < available, shares - counts, -np.inf).argmax()] += 1
    return tuple(int(count) for count in counts)


def meta_dataset_shots(rng: np.random.Generator, way: int, available: int, counted: int) -> tuple[int, ...]:
    """Draws the shots of an unbalanced episode (Triantafillou et al. 2020, section 3.2).

    `available` is the number of images of a class that are not queries, equal for all classes here.
    The rule counts at most `counted` of them. An episode has at most MOST_SUPPORT support images.
    """
    beta = 1 - rng.random()  # in (0, 1]
    size = min(MOST_SUPPORT, way * math.ceil(beta * min(counted, available)))
    shares = np.exp(rng.uniform(math.log(0.5), math.log(2), way))
    shares /= shares.sum()
    shots = np.minimum(np.floor(shares * (size - way)).astype(int) + 1, available)
    return tuple(int(shot) for shot in shots)
