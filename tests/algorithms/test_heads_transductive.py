"""Heads that see all queries at once: against naive loops in float64, and in known limits."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from embedded_tasks import WAYS, Flat, compare, mean_of_class, random_task
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.bd_cspn import BDCSPN, rectified, shifted
from metalearn.algorithms.laplacian_shot import LaplacianShot, neighbourhood
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.prototypical import Prototypical
from metalearn.algorithms.pt_map import PTMAP, preprocessed, sinkhorn
from metalearn.algorithms.soft_kmeans import SoftKMeans
from metalearn.algorithms.tim import TIM, adam, entropy

COMMON = {"num_base_classes": 4, "batch_norm": "running"}


@pytest.fixture
def task() -> SimpleNamespace:
    return random_task()


def unit(z: Tensor) -> Tensor:
    return torch.stack([row / row.square().sum().sqrt() for row in z])


def soft_kmeans(steps: int = 1, temperature: float = 1.0) -> SoftKMeans:
    return SoftKMeans(Flat(5), steps=steps, temperature=temperature, batch_norm="running")


def laplacian_shot(laplacian: float = 0.7, neighbours: int = 2, steps: int = 20) -> LaplacianShot:
    return LaplacianShot(Flat(5), laplacian=laplacian, neighbours=neighbours, steps=steps, sharpness=10.0, **COMMON)


def pt_map(rate: float = 0.2, steps: int = 20) -> PTMAP:
    return PTMAP(Flat(5), exponent=0.5, sharpness=10.0, rate=rate, steps=steps, **COMMON)


def tim(steps: int = 40, alpha: float = 1.0, support_weight: float = 0.1, sharpness: float = 15.0) -> TIM:
    weights = {"support_weight": support_weight, "conditional_weight": 0.1}
    return TIM(Flat(5), sharpness=sharpness, alpha=alpha, lr=1e-2, steps=steps, **weights, **COMMON)


# Soft k-means


def test_soft_kmeans_against_a_loop(task: SimpleNamespace) -> None:
    prototypes = [mean_of_class(task.support_z, way) for way in range(3)]
    for _ in range(2):
        weights = [torch.stack([-(query - p).square().sum() for p in prototypes]).exp() for query in task.query_z]
        refined = []
        for way in range(3):
            rows = [(1.0, z) for z, label in zip(task.support_z, WAYS, strict=True) if label == way]
            rows += [(w[way] / w.sum(), z) for w, z in zip(weights, task.query_z, strict=True)]
            refined.append(sum(w * z for w, z in rows) / sum(w for w, _ in rows))
        prototypes = refined
    found = compare(soft_kmeans(steps=2), task)
    for q, way in itertools.product(range(4), range(3)):
        torch.testing.assert_close(found[q, way], -(task.query_z[q] - prototypes[way]).square().sum())


def test_soft_kmeans_without_steps_is_prototypical(task: SimpleNamespace) -> None:
    expected = compare(Prototypical(Flat(5), temperature=3.0, batch_norm="running"), task)
    torch.testing.assert_close(compare(soft_kmeans(steps=0, temperature=3.0), task), expected)


# BD-CSPN


def test_rectified_prototypes_against_a_loop(task: SimpleNamespace) -> None:
    support, queries = unit(task.support_z), unit(task.query_z)
    queries = queries - queries.mean(0) + support.mean(0)
    prototypes = [mean_of_class(support, way) for way in range(3)]

    def cosine(z: Tensor, way: int) -> Tensor:
        return z @ prototypes[way] / z.norm() / prototypes[way].norm()

    labels = [max(range(3), key=lambda way, z=z: cosine(z, way)) for z in queries]
    found = rectified(support, task.support_y, shifted(queries, support), 10.0)
    for way in range(3):
        members = [z for z, label in zip([*support, *queries], [*WAYS, *labels], strict=True) if label == way]
        exps = [[torch.exp(10 * cosine(z, other)) for other in range(3)] for z in members]
        weighted = [row[way] / sum(row) * z for row, z in zip(exps, members, strict=True)]
        torch.testing.assert_close(found[way], sum(weighted) / len(members))
    logits = compare(BDCSPN(Flat(5), sharpness=10.0, **COMMON), task)
    torch.testing.assert_close(logits, F.cosine_similarity(queries[:, None], found, dim=2))


def test_shifted_queries_have_the_mean_of_the_support_set(task: SimpleNamespace) -> None:
    moved = shifted(task.query_z + 100, task.support_z)
    torch.testing.assert_close(moved.mean(0), task.support_z.mean(0))
    torch.testing.assert_close(moved.diff(dim=0), task.query_z.diff(dim=0))


# LaplacianShot


def test_neighbours_are_the_nearest_others() -> None:
    z = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    expected = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]]).float()
    assert torch.equal(neighbourhood(z, 2), expected)
    assert torch.equal(neighbourhood(z, 9), 1 - torch.eye(4))
    assert torch.equal(neighbourhood(z[:1], 2), torch.zeros(1, 1))


def test_laplacian_shot_minimises_its_energy(task: SimpleNamespace) -> None:
    """Tests eq. 5 with the entropy barrier of eq. 6, which each update lowers.

    The neighbours are mutual.
    """
    algorithm = laplacian_shot(neighbours=3, steps=0)
    unary = -compare(algorithm, task)
    affinity = neighbourhood(task.query_z, 3)
    assert torch.equal(affinity, affinity.T)

    def energy(steps: int) -> float:
        algorithm.steps = steps
        y = compare(algorithm, task).softmax(1)
        pairs = sum(affinity[i, j] * (y[i] @ y[j]) for i, j in itertools.product(range(4), repeat=2))
        return ((y * y.log()).sum() + (y * unary).sum() - 0.7 / 2 * pairs).item()

    energies = [energy(steps) for steps in range(6)]
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(energies))
    assert energies[5] < energies[0]


def test_laplacian_shot_is_a_fixed_point(task: SimpleNamespace) -> None:
    logits = compare(laplacian_shot(steps=200), task)
    z = unit(task.query_z)  # the mean of the base classes is 0 here
    unary = compare(laplacian_shot(laplacian=0.0), task)
    prototypes = rectified(unit(task.support_z), task.support_y, shifted(z, unit(task.support_z)), 10.0)
    torch.testing.assert_close(unary, -torch.cdist(z, prototypes).square())
    torch.testing.assert_close(logits, unary + 0.7 * neighbourhood(z, 2) @ logits.softmax(1))


# PT-MAP


def test_the_transport_has_its_margins_and_the_form_of_a_solution() -> None:
    scores = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    plan, factors = sinkhorn(scores, torch.ones(3, dtype=torch.float64), 1000)
    assert torch.equal(sinkhorn(scores, factors, 0)[0], plan)
    torch.testing.assert_close(plan.exp().sum(1), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(plan.exp().sum(0), torch.full((3,), 4.0, dtype=torch.float64))
    # The logarithm of a plan differs from the scores by a number for each row and column.
    added = plan - scores
    torch.testing.assert_close(added - added[:1] - added[:, :1] + added[0, 0], torch.zeros_like(added))


def test_the_transport_survives_scores_that_are_far_apart() -> None:
    scores = torch.tensor([[0.0, -1e4], [0.0, -2e4]])
    plan, _ = sinkhorn(scores, torch.ones(2))
    assert torch.isfinite(plan).all()
    assert torch.equal(sinkhorn(scores - 1000, torch.ones(2))[0], plan)


def test_preprocessed_rows_are_of_unit_length_and_as_by_hand() -> None:
    z = torch.tensor([[4.0, 0.0, 1.0], [1.0, 9.0, 0.0]])
    rows = torch.tensor([[2.0, 0.0, 1.0], [1.0, 3.0, 0.0]])
    rows = rows / torch.tensor([[5.0], [10.0]]).sqrt()
    rows = rows - rows.mean(0)
    torch.testing.assert_close(preprocessed(z, 0.5), unit(rows))


def test_pt_map_takes_as_many_queries_of_each_class_and_finds_the_centres() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.eye(3).repeat(20, 1)
    centres = torch.rand(3, 5, generator=generator)
    support_z, query_z = (rows @ centres for rows in (torch.eye(3), y))
    support_z = support_z + 0.1 * torch.rand(3, 5, generator=generator)
    query_z = query_z + 0.1 * torch.rand(60, 5, generator=generator)
    logits = pt_map().compare(support_z, torch.eye(3), query_z)
    assert torch.equal(logits.argmax(1), y.argmax(1))
    torch.testing.assert_close(logits.exp().sum(0), torch.full((3,), 20.0), rtol=1e-3, atol=0)


def test_pt_map_without_steps_is_a_transport_to_the_prototypes(task: SimpleNamespace) -> None:
    support, queries = preprocessed(task.support_z, 0.5), preprocessed(task.query_z, 0.5)
    means = class_means(support, task.support_y)
    expected, _ = sinkhorn(-10 * torch.cdist(queries, means).square(), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(compare(pt_map(steps=0), task), expected)


# TIM


def loss_by_hand(task: SimpleNamespace, means: Tensor, alpha: float, support_weight: float) -> Tensor:
    def probabilities(z: Tensor) -> list[Tensor]:
        rows = [torch.stack([-7.5 * (row - mean).square().sum() for mean in means]).exp() for row in unit(z)]
        return [row / row.sum() for row in rows]

    def entropy_of(p: Tensor) -> Tensor:
        if alpha == 1:
            return -sum(share * share.log() for share in p)
        return (1 - sum(share**alpha for share in p)) / (alpha - 1)

    queries, support = probabilities(task.query_z), probabilities(task.support_z)
    cross = -sum(p[way].log() for p, way in zip(support, WAYS, strict=True)) / 7
    conditional = sum(map(entropy_of, queries)) / 4
    return support_weight * cross - (entropy_of(sum(queries) / 4) - 0.1 * conditional)


@pytest.mark.parametrize(("alpha", "support_weight"), [(1.0, 0.1), (2.0, 1.0), (7.0, 1.0)])
def test_tim_against_an_optimiser_on_the_loss_of_the_paper(
    task: SimpleNamespace, alpha: float, support_weight: float
) -> None:
    means = torch.stack([mean_of_class(unit(task.support_z), way) for way in range(3)]).requires_grad_()
    optimizer = torch.optim.Adam([means], lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        loss_by_hand(task, means, alpha, support_weight).backward()
        optimizer.step()
    expected = -7.5 * torch.cdist(unit(task.query_z), means.detach()).square()
    torch.testing.assert_close(compare(tim(alpha=alpha, support_weight=support_weight), task), expected)


def test_entropies_of_known_distributions() -> None:
    uniform, sure = torch.zeros(4).log_softmax(0), torch.tensor([1e3, 0.0, 0.0, 0.0]).log_softmax(0)
    assert entropy(uniform, 1).item() == pytest.approx(math.log(4))
    assert entropy(uniform, 2).item() == pytest.approx(3 / 4)
    assert entropy(uniform.double().log_softmax(0), 1 + 1e-7).item() == pytest.approx(math.log(4), rel=1e-5)
    assert entropy(sure, 1) == entropy(sure, 7) == 0


@pytest.mark.parametrize("alpha", [0.2, 1.0, 7.0])
def test_tim_survives_predictions_that_are_certain(task: SimpleNamespace, alpha: float) -> None:
    parts = (part.float() for part in (task.support_z, task.support_y, task.query_z))
    assert torch.isfinite(tim(alpha=alpha, sharpness=1000.0).compare(*parts)).all()


def test_adam_is_that_of_torch() -> None:
    x = torch.nn.Parameter(torch.tensor([3.0, -0.2, 0.0]))
    optimizer = torch.optim.Adam([x], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        (x**4).sum().backward()
        optimizer.step()
    found = adam(lambda x: 4 * x**3, torch.tensor([3.0, -0.2, 0.0]), lr=0.1, steps=20)
    torch.testing.assert_close(found, x.detach())


# All heads


@pytest.mark.parametrize("make", [soft_kmeans, laplacian_shot, pt_map, tim])
def test_tasks_together_are_as_each_alone_and_queries_in_any_order(make, task: SimpleNamespace) -> None:
    algorithm: AbstractAlgorithm = make().double()
    assert algorithm.dependence().transductive
    logits = compare(algorithm, task)
    tasks = [torch.stack([part, part.roll(1, 0)]) for part in (task.support_z, task.support_y, task.query_z)]
    for found in algorithm.compare_all(*tasks):
        # Rolling changes the order of support rows and queries only.
        order = slice(None) if torch.allclose(found, logits) else [1, 2, 3, 0]
        torch.testing.assert_close(found[order], logits)


def test_what_no_algorithm_can_be_built_of_is_refused() -> None:
    for make, what in (
        (lambda: soft_kmeans(steps=-1), "steps=-1 must be at least 0"),
        (lambda: soft_kmeans(temperature=0.0), "temperature=0.0 must be positive"),
        (lambda: tim(alpha=0.0), "alpha=0.0 must be positive"),
    ):
        with pytest.raises(ValueError, match=what):
            make()
