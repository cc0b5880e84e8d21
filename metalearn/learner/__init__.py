"""Use of a trained run: fits to a few labelled images, and predicts new ones."""

from metalearn.learner.learner import Learner

__all__ = ["Learner"]
