"""The metric family: comparisons against naive loops in float64, and shared properties.

Relation and triplet networks have their own files.
"""

import itertools
from types import SimpleNamespace

import pytest
import torch
from conftest import episode
from embedded_tasks import WAYS, Flat, batch_of, compare, mean_of_class, random_task
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.matching import Matching, QueryContext, SupportContext
from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.distances import squared_distances
from metalearn.algorithms.prototypical import Prototypical
from metalearn.algorithms.relation import Relation
from metalearn.algorithms.siamese import Siamese, balanced_cross_entropy
from metalearn.algorithms.triplet import Triplet
from metalearn.backbones.conv4 import Conv4
from metalearn.types import Episode


@pytest.fixture
def task() -> SimpleNamespace:
    return random_task()


# Prototypical


def test_prototypical_against_a_loop(task: SimpleNamespace) -> None:
    logits = compare(Prototypical(Flat(5), batch_norm="running"), task)
    for q, way in itertools.product(range(4), range(3)):
        prototype = mean_of_class(task.support_z, way)
        expected = -sum((task.query_z[q, d] - prototype[d]) ** 2 for d in range(5))
        torch.testing.assert_close(logits[q, way], expected)


def test_prototypical_with_cosine_and_temperature(task: SimpleNamespace) -> None:
    logits = compare(Prototypical(Flat(5), distance="cosine", temperature=0.5, batch_norm="running"), task)
    for q, way in itertools.product(range(4), range(3)):
        cosine = F.cosine_similarity(task.query_z[q], mean_of_class(task.support_z, way), dim=0)
        torch.testing.assert_close(logits[q, way], cosine / 0.5)
    warm = compare(Prototypical(Flat(5), temperature=4.0, batch_norm="running"), task)
    torch.testing.assert_close(4 * warm, compare(Prototypical(Flat(5), batch_norm="running"), task))


def test_squared_distances_are_never_negative() -> None:
    a = 1000 + torch.rand(50, 8)
    assert (squared_distances(a, a) >= 0).all()


# Siamese


def test_siamese_compare_against_a_loop(task: SimpleNamespace) -> None:
    algorithm = Siamese(Flat(5), batch_norm="running").double()
    logits = compare(algorithm, task)
    weight, bias = algorithm.alpha.weight[0], algorithm.alpha.bias[0]
    for q, way in itertools.product(range(4), range(3)):
        probabilities = [
            torch.sigmoid(sum(weight[d] * abs(task.support_z[i, d] - task.query_z[q, d]) for d in range(5)) + bias)
            for i in range(7)
            if WAYS[i] == way
        ]
        torch.testing.assert_close(logits[q, way], (sum(probabilities) / len(probabilities)).log())


def test_siamese_loss_weighs_the_two_kinds_of_pairs_alike(task: SimpleNamespace) -> None:
    algorithm, batch = Siamese(Flat(5), batch_norm="running").double(), batch_of(task)
    pairs: dict[bool, list[Tensor]] = {True: [], False: []}
    for drawn in batch.tasks():
        scores = algorithm.verify(drawn.support_x, drawn.query_x)  # (Q, S)
        for q, s in itertools.product(range(4), range(7)):
            same = bool(drawn.query_y[q].argmax() == drawn.support_y[s].argmax())
            probability = torch.sigmoid(scores[q, s])
            pairs[same].append(-torch.log(probability if same else 1 - probability))
    expected = (torch.stack(pairs[True]).mean() + torch.stack(pairs[False]).mean()) / 2
    output = algorithm.loss(batch)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.logits[0], compare(algorithm, task))


def test_siamese_is_stable_where_the_sigmoid_saturates(task: SimpleNamespace) -> None:
    scores = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    loss = balanced_cross_entropy(scores, torch.tensor([[True, False]]))
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(200.0))
    assert torch.isfinite(scores.grad).all()
    algorithm = Siamese(Flat(5), batch_norm="running").double()
    nn.init.constant_(algorithm.alpha.bias, -1000.0)
    logits = compare(algorithm, task)
    assert torch.isfinite(logits).all()
    assert (logits < -900).all()


# Matching


def attention_over(support_z: Tensor, query_z: Tensor, temperature: float) -> list[list[Tensor]]:
    """Computes eq. 1 by loops: the probability of each query and way."""
    rows = []
    for query in query_z.detach():
        weights = [
            torch.exp(F.cosine_similarity(query, support, dim=0) / temperature) for support in support_z.detach()
        ]
        rows.append([sum(w for w, y in zip(weights, WAYS, strict=True) if y == way) / sum(weights) for way in range(3)])
    return rows


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_matching_against_a_loop(task: SimpleNamespace, temperature: float) -> None:
    algorithm = Matching(Flat(5), temperature=temperature, processing_steps=5, batch_norm="running")
    expected = torch.tensor(attention_over(task.support_z, task.query_z, temperature), dtype=torch.float64)
    torch.testing.assert_close(compare(algorithm, task), expected.log())
    torch.testing.assert_close(expected.sum(1), torch.ones(4, dtype=torch.float64))


def lstm_step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Computes one row of the textbook cell, with torch's gates: input, forget, cell, output."""
    i, f, g, o = gates.chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def test_the_support_context_is_two_lstms_and_a_skip_connection(task: SimpleNamespace) -> None:
    context = SupportContext(5).double()
    lstm = context.lstm
    expected = task.support_z.clone()
    for suffix, order in (("", range(7)), ("_reverse", reversed(range(7)))):
        w, u, b, d = (getattr(lstm, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = c = torch.zeros(5, dtype=torch.float64)
        for i in order:
            h, c = lstm_step(w @ task.support_z[i] + b + u @ h + d, c)
            expected[i] += h
    torch.testing.assert_close(context(task.support_z), expected)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_query_context_reads_the_support_set_step_by_step(task: SimpleNamespace, steps: int) -> None:
    context = QueryContext(5, steps).double()
    embedded = context(task.query_z, task.support_z)
    for query, found in zip(task.query_z, embedded, strict=True):
        h = c = torch.zeros(5, dtype=torch.float64)
        for _ in range(steps):
            weights = [torch.exp(sum(h * z)) for z in task.support_z]
            read = sum(w * z for w, z in zip(weights, task.support_z, strict=True)) / sum(weights)
            out, c = lstm_step(context.gates.weight @ torch.cat([query, h, read]) + context.gates.bias, c)
            h = out + query
        torch.testing.assert_close(found, h)


def test_matching_with_full_context_embeddings(task: SimpleNamespace) -> None:
    torch.manual_seed(0)
    algorithm = Matching(Flat(5), temperature=1.0, fce=True, processing_steps=2, batch_norm="running").double()
    logits = compare(algorithm, task)
    support_z = algorithm.g(task.support_z)
    expected = attention_over(support_z, algorithm.f(task.query_z, support_z), 1.0)
    torch.testing.assert_close(logits, torch.tensor(expected, dtype=torch.float64).log())
    order = torch.arange(6, -1, -1)
    other = algorithm.compare(task.support_z[order], task.support_y[order], task.query_z)
    assert not torch.allclose(logits, other), "the LSTM over the support set has no order"
    algorithm.loss(batch_of(task)).loss.backward()
    assert all(weight.grad.any() for weight in algorithm.parameters())


# Shared properties


def algorithms(batch_norm: str, channels: int = 4):
    def backbone() -> Conv4:
        return Conv4([1, 16, 16], channels=channels, pools=2)

    yield Prototypical(backbone(), distance="cosine", temperature=0.1, batch_norm=batch_norm)
    yield Siamese(backbone(), batch_norm=batch_norm)
    yield Matching(backbone(), temperature=0.1, processing_steps=5, batch_norm=batch_norm)
    yield Matching(backbone(), temperature=0.1, fce=True, processing_steps=2, batch_norm=batch_norm)
    for objective in ("mse", "cross_entropy"):
        yield Relation(backbone(), objective=objective, channels=4, hidden=8, batch_norm=batch_norm)
    for mining in ("batch_hard", "semi_hard"):
        yield Triplet(backbone(), mining=mining, margin=0.5, finetune_steps=1, finetune_lr=0.01, batch_norm=batch_norm)


@pytest.mark.parametrize("batch_norm", ["running", "support", "batch"])
def test_a_prediction_depends_on_other_queries_in_batch_mode_only(batch_norm: str) -> None:
    torch.manual_seed(0)
    task = Episode(*(part.double() for part in episode(tasks=1).tasks()[0]))
    for algorithm in algorithms(batch_norm):
        predict = algorithm.double().eval().adapt(task.support_x, task.support_y)
        alone = torch.cat([predict(query[None]) for query in task.query_x])
        independent = torch.allclose(alone, predict(task.query_x), rtol=1e-8, atol=1e-10)
        assert independent == (batch_norm != "batch")


@pytest.mark.parametrize("batch_norm", ["running", "support", "batch"])
def test_only_training_in_running_mode_moves_the_running_averages(batch_norm: str) -> None:
    batch = episode()
    for algorithm in algorithms(batch_norm):
        before = {name: buffer.clone() for name, buffer in algorithm.named_buffers()}
        algorithm.eval().adapt(batch.support_x[0], batch.support_y[0])(batch.query_x[0])
        assert all(torch.equal(buffer, before[name]) for name, buffer in algorithm.named_buffers())
        algorithm.train().loss(batch)
        moved = [not torch.equal(buffer, before[name]) for name, buffer in algorithm.named_buffers()]
        assert all(moved) if batch_norm == "running" else not any(moved)


class Dropping(AbstractMetric):
    """Metric that drops numbers of the queries at random."""

    compares_by_vmap = True

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return F.dropout(query_z) @ support_z.T @ support_y


def test_tasks_together_never_share_a_random_draw(task: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError, match="random"):
        Dropping(Flat(5), batch_norm="running").loss(batch_of(task))


def test_bfloat16_autocast() -> None:
    batch = episode()
    for algorithm in algorithms("running"):
        with torch.autocast("cpu", torch.bfloat16):
            loss = algorithm.loss(batch).loss
            with torch.no_grad():
                logits = algorithm.eval().adapt(batch.support_x[0], batch.support_y[0])(batch.query_x[0])
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits).all()
        assert all(torch.isfinite(weight.grad).all() for weight in algorithm.parameters())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Prototypical(Flat(5), temperature=0.0, batch_norm="running"), "temperature=0.0 must be positive"),
        (
            lambda: Matching(Flat(5), temperature=-1.0, processing_steps=5, batch_norm="running"),
            "temperature=-1.0 must be positive",
        ),
        (
            lambda: Matching(Flat(5), temperature=1.0, fce=True, processing_steps=0, batch_norm="running"),
            "processing_steps=0 must be at least 1",
        ),
        (
            lambda: Triplet(Flat(5), mining="batch_hard", margin=0.0, finetune_lr=0.1, batch_norm="running"),
            "margin=0.0 must be positive",
        ),
        (
            lambda: Triplet(
                Flat(5), mining="batch_hard", margin=1.0, finetune_steps=-1, finetune_lr=0.1, batch_norm="running"
            ),
            "finetune_steps=-1 must be at least 0",
        ),
    ],
)
def test_refused(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
