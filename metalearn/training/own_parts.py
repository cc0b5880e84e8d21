"""Checks of a user's own parts: methods, shapes, kept weights, and dependence on other rows."""

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, final

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.parts.functional import functional_call
from metalearn.backbones import norm
from metalearn.backbones.base import backbone_of
from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.formats import one_line
from metalearn.training.own_state import is_own
from metalearn.types import Episode, IndexedBatch, TaskOutput

log = logging.getLogger(__name__)

TOLERANCE = 0.01
"""Largest difference that is rounding, of probabilities, or of outputs relative to the largest."""

ROWS = 4
"""Largest number of support rows, and of queries, that an own backbone embeds to be checked."""

ONCE = "make layers in the constructor, and call F.dropout with training=self.training"
"""Remedy for results that are random by mistake."""

METHODS = {"loss": "(batch)", "adapt": "(support_x, support_y)", "compare": "(support_z, support_y, query_z)"}
"""Methods of an algorithm, with the arguments that a run gives; only embeddings are compared."""


@final
class DeclaredDependence(pl.Callback):
    """Checks an own algorithm on the first episode of each evaluation in full precision."""

    def on_validation_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: IndexedBatch, batch_idx: int, *_: Any
    ) -> None:
        algorithm: AbstractAlgorithm = module.algorithm  # type: ignore[assignment]
        if not is_own(algorithm) or batch_idx or trainer.precision != "32-true":
            return
        is_embedded: bool = module.evaluates_embeddings  # type: ignore[assignment]
        check_declared(algorithm, batch.episodes.tasks()[0], is_embedded=is_embedded)

    on_test_batch_start = on_validation_batch_start  # type: ignore[assignment]


def check_declared(algorithm: AbstractAlgorithm, task: Episode, *, is_embedded: bool) -> None:
    """Raises ValueError if the prediction of a query is another without the other queries.

    It also does if an adaptation or a prediction changes weights or buffers, which later episodes
    would inherit, and if predictions are not (Q, N). A prediction that changes when it is repeated
    is random, and is not judged. Raises TypeError if `adapt` returns no function.
    """
    queries, name = task.query_x, type(algorithm).__name__
    before = {key: value.clone() for key, value in _state(algorithm)}
    with torch.random.fork_rng([queries.device] if queries.is_cuda else []):
        adapt = partial(partial, algorithm.compare) if is_embedded else algorithm.adapt  # type: ignore
        predict = adapt(task.support_x, task.support_y)
        if not callable(predict):
            found = f"adapt of {name} returns a {type(predict).__name__}"
            raise TypeError(f"{found}, not a function from queries to logits (docs/extending.md)")
        together = predict(queries)
        for key, value in _state(algorithm):
            if not _is_equal(value, before.get(key, value)):
                line = f"{'compare' if is_embedded else 'adapt'} of {name} changes {key}"
                remedy = "let it change a copy (docs/extending.md)"
                raise ValueError(f"{line}, which the next episode would inherit: {remedy}")
        if together.shape[:-1] != task.query_y.shape[:-1]:  # scores would pair each query with each target
            found = f"{name} predicts {tuple(together.shape)} for {len(queries)} queries"
            raise ValueError(f"{found}: let it return (Q, N), where N is 1 for a regression (docs/extending.md)")
        if algorithm.dependence().transductive:
            return
        repeated, alone = predict(queries), predict(queries[:1])
    if algorithm.problem == "classification":
        together, repeated, alone = (logits.softmax(-1) for logits in (together, repeated, alone))
    largest = TOLERANCE * (together.abs().max() if algorithm.problem == "regression" else 1.0)
    if (together - repeated).abs().max() > largest or not (together[:1] - alone).abs().max() > largest:
        return
    raise ValueError(
        f"{name} predicts a query differently among other queries and alone, but its results would not be marked "
        f"transductive: set predicts_jointly = True in {name}"
    )


def _state(algorithm: AbstractAlgorithm) -> Iterator[tuple[str, Tensor]]:
    """Yields the weights and buffers by name, without sparse ones, which torch cannot compare."""
    for name, tensor in chain(algorithm.named_parameters(), algorithm.named_buffers()):
        if tensor.layout == torch.strided:
            yield name, tensor


def _is_equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal; a buffer may have been replaced by one of another shape."""
    is_alike = (a.shape, a.dtype) == (b.shape, b.dtype)
    return is_alike and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)


def check_methods(algorithm: AbstractAlgorithm) -> None:
    """Raises ValueError if a method of an own algorithm does not take what a run gives it."""
    if not is_own(algorithm):
        return
    for name, expected in METHODS.items():
        if name == "compare" and not isinstance(algorithm, AbstractEmbedding):
            continue
        signature = inspect.signature(getattr(algorithm, name))
        try:
            signature.bind(*expected.split(","))
        except TypeError:
            found = f"{name} of {type(algorithm).__name__} has the arguments {signature}"
            raise ValueError(f"{found}, and a run gives {expected} (docs/extending.md)") from None


def check_output(algorithm: AbstractAlgorithm, output: Any, batch: Episode) -> None:
    """Raises TypeError if the `loss` of an algorithm returned no TaskOutput.

    Raises ValueError if its loss is no scalar tensor, or its logits are not (T, Q, N).
    """
    name, rows = type(algorithm).__name__, tuple(batch.query_y.shape[:2])
    if not isinstance(output, TaskOutput):
        raise TypeError(
            f"loss of {name} returns a {type(output).__name__}, not metalearn's TaskOutput(loss, logits) "
            "(docs/extending.md)"
        )
    loss: Any = output.loss
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise ValueError(f"loss of {name} returns the loss {_shape(loss)}: let it be a scalar tensor, such as a mean")
    if output.logits is not None and output.logits.shape[:-1] not in (rows, rows[1:] if rows[0] == 1 else rows):
        found = f"loss of {name} returns logits {tuple(output.logits.shape)} for (T, Q) = {rows}"
        raise ValueError(f"{found}: let it return (T, Q, N), or none (docs/extending.md)")


def check_compare(algorithm: AbstractAlgorithm, data: AbstractEpisodes[Any]) -> None:
    """Checks `compare` of an own algorithm, on random embeddings for the ways of meta-test.

    Raises ValueError if its logits are not (Q, N). Logits that are random, or probabilities, give a
    warning.
    """
    if not isinstance(algorithm, AbstractEmbedding) or algorithm.problem != "classification":
        return
    if not is_own(algorithm) or algorithm.base is not None or type(algorithm).embed is not AbstractEmbedding.embed:
        return
    dtype = next((weight.dtype for weight in algorithm.parameters()), torch.get_default_dtype())
    support_y = _task(data).support_y.to(dtype)  # (S, N)
    support, way = support_y.shape
    query = support + way + 1  # differs from both
    name = type(algorithm).__name__
    try:
        with _evaluated(algorithm):
            z = torch.randn(support + query, algorithm.backbone.num_features, dtype=dtype)  # (S + Q, D)
            logits, repeated = (algorithm.compare(z[:support], support_y, z[support:]) for _ in range(2))
    except Exception as error:  # it may need a GPU or another precision
        log.warning("%s was not checked, since it failed on a CPU: %s", name, one_line(error))
        return
    if not isinstance(logits, Tensor) or logits.shape != (query, way):
        raise ValueError(
            f"compare of {name} returns {_shape(logits)} for {support} support rows, {query} queries and {way} ways, "
            f"not (Q, N) = {(query, way)}"
        )
    logits, repeated = logits.float(), repeated.float()
    if (logits.softmax(-1) - repeated.softmax(-1)).abs().max() > TOLERANCE:
        log.warning("compare of %s gives other logits for the same embeddings: %s", name, ONCE)
    elif logits.min() >= 0 and (logits.sum(-1) - 1).abs().max() < 1e-4:
        log.warning("compare of %s returns probabilities: let it return logits, such as log(p + 1e-6)", name)


def check_backbone(algorithm: AbstractAlgorithm, data: AbstractEpisodes[Any]) -> None:
    """Checks the embeddings of an own backbone, on a few rows of meta-test.

    Raises ValueError if they have another shape than it states, or if one depends on other rows
    although no moments of the batch are declared. Embeddings that change when they are repeated are
    random: they give a warning, and are not judged.
    """
    backbone = backbone_of(algorithm)
    if backbone is None or not is_own(backbone):
        return
    name, width = type(backbone).__name__, backbone.num_features
    task = _task(data)
    support = task.support_x[:ROWS]
    x = torch.cat([support, task.query_x[:ROWS]])  # (B, *X)
    if x.is_floating_point():
        x = x.to(next((weight.dtype for weight in backbone.parameters()), x.dtype))
    rows = norm.rows(algorithm.batch_norm, training=False, support=len(support))
    try:
        with _evaluated(backbone):  # one random state, so that random embeddings differ
            z, repeated, fewer = (_embedded(backbone, part, rows) for part in (x, x, x[: len(support) + 1]))
    except Exception as error:  # it may need a GPU or another precision
        log.warning("%s was not checked, since it failed on a CPU: %s", name, one_line(error))
        return
    if not isinstance(z, Tensor) or z.shape != (len(x), width):
        raise ValueError(
            f"{name} embeds {len(x)} inputs as {_shape(z)}, not {(len(x), width)}: "
            "return (B, num_features), or correct its num_features"
        )
    largest = TOLERANCE * z.abs().max()
    if (z - repeated).abs().max() > largest:
        log.warning("%s embeds an input differently when it is repeated: %s", name, ONCE)
        return
    if algorithm.dependence().batch_norm == "batch":
        return
    if (z[: len(fewer)] - fewer).abs().max() > largest:
        raise ValueError(
            f"{name} embeds an input differently among other inputs, but its results would state that it does not: "
            f"use metalearn's BatchNorm in {name}, and pass `rows` to it (docs/extending.md)"
        )


def _task(data: AbstractEpisodes[Any]) -> Episode:
    return data.episodes(data.collate([data.draw("test", 0)]), "test").tasks()[0]


def _shape(found: Any) -> tuple[int, ...] | str:
    return tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"


def _embedded(backbone: nn.Module, x: Tensor, rows: norm.Rows | None) -> Any:
    """Embeds inputs; the buffers stay unchanged."""
    buffers = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    return functional_call(backbone, buffers, (x, rows))


@contextmanager
def _evaluated(part: nn.Module) -> Iterator[None]:
    """Puts a module into evaluation mode; the random state and the mode stay unchanged."""
    modes = {module: module.training for module in part.modules()}
    try:
        with torch.random.fork_rng([]), torch.no_grad():
            part.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
