"""Scores of a batch of T evaluated episodes, from its predictions and targets.

They are computed in float32 at least, whatever the precision of the network.
"""

import torch
from torch import Tensor

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.parts.precision import widened
from metalearn.training.calibration import TEMPERED, loss_by_temperature
from metalearn.training.scores import CANDIDATES

Measures = dict[str, Tensor]
"""Numbers (T,) and curves (T, K), by name."""


def of_validation(algorithm: AbstractAlgorithm, by_candidate: list[Tensor], targets: Tensor) -> Measures:
    """Computes curves over the candidates.

    The predictions of each candidate, and the targets, are (T, Q, N).
    """
    by_candidate, targets = [*map(widened, by_candidate)], widened(targets)
    losses, scores = _losses_and_scores(algorithm, by_candidate, targets)
    measures = {"loss": losses, algorithm.objective.score_name: scores}
    if algorithm.problem == "classification":
        tempered = [loss_by_temperature(logits, targets) for logits in by_candidate]
        measures[TEMPERED] = torch.cat(tempered, dim=1)  # (T, candidates K)
    return {f"{name}{CANDIDATES}": values for name, values in measures.items()}


def of_test(algorithm: AbstractAlgorithm, by_stage: list[Tensor], targets: Tensor) -> Measures:
    """Computes the scores of the last stage.

    If the algorithm names its stages, the curve of the score over the stages is added.
    """
    by_stage, targets = [*map(widened, by_stage)], widened(targets)
    losses, scores = _losses_and_scores(algorithm, by_stage, targets)
    name = algorithm.objective.score_name
    measures = {"loss": losses[:, -1], name: scores[:, -1]}
    if algorithm.stage is not None:
        measures[f"{name}_by_{algorithm.stage}"] = scores
    others = algorithm.objective.others
    return measures | {other: measure(by_stage[-1], targets) for other, measure in others.items()}


def _losses_and_scores(
    algorithm: AbstractAlgorithm, predictions: list[Tensor], targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Computes loss and score of each of K predictions (T, Q, N): (T, K), (T, K)."""
    losses_of = torch.vmap(algorithm.objective.loss)
    losses = [losses_of(outputs, targets) for outputs in predictions]
    scores = [algorithm.objective.score(outputs, targets) for outputs in predictions]
    return torch.stack(losses, dim=1), torch.stack(scores, dim=1)
