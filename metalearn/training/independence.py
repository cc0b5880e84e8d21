"""Check of a user's own algorithm: predictions that depend on other queries are declared."""

from functools import partial
from typing import Any, final

import lightning.pytorch as pl
import torch

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.types import Episode, IndexedBatch

TOLERANCE = 0.01
"""Largest difference that is rounding, of probabilities, or of outputs relative to the largest."""


@final
class DeclaredDependence(pl.Callback):
    """Checks the first episode of each evaluation in full precision.

    Algorithms of the package are not checked, because tests show what their predictions depend on.
    """

    def on_validation_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: IndexedBatch, batch_idx: int, *_: Any
    ) -> None:
        algorithm: AbstractAlgorithm = module.algorithm  # type: ignore[assignment]
        is_own = type(algorithm).__module__.partition(".")[0] != "metalearn"
        if not is_own or batch_idx or trainer.precision != "32-true" or algorithm.dependence().transductive:
            return
        is_embedded = algorithm.embeds_each_alone and isinstance(trainer.datamodule, EpisodicDataModule)  # type: ignore
        check_declared(algorithm, batch.episodes.tasks()[0], is_embedded=is_embedded)

    on_test_batch_start = on_validation_batch_start  # type: ignore[assignment]


def check_declared(algorithm: AbstractAlgorithm, task: Episode, *, is_embedded: bool) -> None:
    """Raises ValueError if the prediction of a query is another without the other queries.

    A prediction that changes when it is repeated is random, and is not judged.
    """
    queries = task.query_x
    with torch.random.fork_rng([queries.device] if queries.is_cuda else []):
        adapt = partial(partial, algorithm.compare) if is_embedded else algorithm.adapt  # type: ignore
        predict = adapt(task.support_x, task.support_y)
        together, repeated, alone = predict(queries), predict(queries), predict(queries[:1])
    if algorithm.problem == "classification":
        together, repeated, alone = (logits.softmax(-1) for logits in (together, repeated, alone))
    largest = TOLERANCE * (together.abs().max() if algorithm.problem == "regression" else 1.0)
    if (together - repeated).abs().max() > largest or not (together[:1] - alone).abs().max() > largest:
        return
    name = type(algorithm).__name__
    raise ValueError(
        f"{name} predicts a query differently among other queries and alone, but its results would not be marked "
        f"transductive: set predicts_jointly = True in {name}"
    )
