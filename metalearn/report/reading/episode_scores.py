"""The scores of the test episodes of a run, where they can be read."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from metalearn.formats import one_line


class EpisodeScores(NamedTuple):
    """Score of each test episode in test_episodes.npz: (E,); None where it cannot be read."""

    values: np.ndarray | None
    damage: str  # empty for an intact file


def episode_scores(path: Path, score: str) -> EpisodeScores:
    if not path.is_file():
        return EpisodeScores(None, "")
    try:
        with path.open("rb") as file, np.load(file) as scores:
            values = np.asarray(scores[score], dtype=np.float64)
    except Exception as error:  # a damaged zip raises nearly anything
        return EpisodeScores(None, f"{path} cannot be read: {one_line(error)}")
    if values.ndim != 1:
        return EpisodeScores(None, f"{path} has not one {score} for each episode: {values.shape}")
    return EpisodeScores(values, "")
