"""What a run has learned, put to use: fit to a few labelled images, and predict new ones."""

from metalearn.learner.learner import Learner

__all__ = ["Learner"]
