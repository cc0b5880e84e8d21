"""Predictions of the episodes of an evaluation, computed as fast as an algorithm allows."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.training.cost import Cost
from metalearn.types import Episode


def of_embeddings(algorithm: AbstractAlgorithm, batch: Episode, cost: Cost) -> list[Tensor]:
    """Compares embedded tasks, (T, S, D) and (T, Q, D): one prediction (T, Q, N)."""
    with cost.of("predict", times=batch.num_tasks):
        return [algorithm.compare_all(batch.support_x, batch.support_y, batch.query_x)]  # type: ignore[operator]


def of_tasks_together(algorithm: AbstractAlgorithm, batch: Episode, cost: Cost, *, stages: bool) -> list[Tensor]:
    """Adapts to T tasks at once: a prediction (T, Q, N) of each stage, or of the last one."""
    with cost.of("adapt", times=batch.num_tasks):
        predictors = algorithm.stages_of_all(batch.support_x, batch.support_y)
    predictors = predictors if stages else predictors[-1:]
    with cost.of("predict", times=batch.num_tasks * len(predictors)):
        return [predict(batch.query_x) for predict in predictors]


def of_tasks_in_turn(algorithm: AbstractAlgorithm, batch: Episode, cost: Cost, *, stages: bool) -> list[Tensor]:
    """Adapts to each task alone: a prediction (T, Q, N) of each stage, or candidate.

    The tasks of a validation may share the cores; those of a test, whose cost counts, do not.
    """
    predictors_of = algorithm.stages if stages else algorithm.candidates

    def predicted(tasks: Sequence[Episode]) -> list[list[Tensor]]:
        predictions = []  # (T, K)
        for task in tasks:
            with cost.of("adapt"):
                predictors = predictors_of(task.support_x, task.support_y)
            with cost.of("predict", times=len(predictors)):
                predictions.append([predict(task.query_x) for predict in predictors])
        return predictions

    shares = [predicted(batch.tasks())] if stages else algorithm.share(predicted, batch.tasks())
    return [torch.stack(of_stage) for of_stage in zip(*chain(*shares), strict=True)]
