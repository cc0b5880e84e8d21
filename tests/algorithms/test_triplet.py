"""The triplet loss against brute force over all triples, in float64."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from conftest import episode
from embedded_tasks import WAYS, Flat, batch_of, random_task
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.triplet import Triplet, batch_hard, positives, semi_hard
from metalearn.backbones.conv4 import Conv4
from metalearn.types import Episode


@pytest.fixture
def task() -> SimpleNamespace:
    return random_task()


def mined(ways: list[int], mining: str, margin: float = 0.3) -> tuple[Tensor, Tensor]:
    """Returns the loss of random distances, and its value by brute force over all triples."""
    generator = torch.Generator().manual_seed(len(ways))
    points = torch.randn(len(ways), 3, dtype=torch.float64, generator=generator)
    distances = torch.cdist(points, points)
    rows = range(len(ways))
    pairs = [(a, p) for a in rows for p in rows if a != p and ways[a] == ways[p]]
    pairs += [(a, a) for a in rows if ways.count(ways[a]) == 1]
    losses = []
    if mining == "batch_hard":
        for a in rows:
            triples = [
                margin + distances[a, p] - distances[a, n]
                for b, p in pairs
                for n in rows
                if b == a and ways[n] != ways[a]
            ]
            losses.append(max(0.0, *map(float, triples)))
    else:
        for a, p in pairs:
            negatives = sorted(float(distances[a, n]) for n in rows if ways[n] != ways[a])
            farther = [d for d in negatives if d > distances[a, p]]
            losses.append(max(0.0, margin + float(distances[a, p]) - (farther[0] if farther else negatives[-1])))
    y = F.one_hot(torch.tensor(ways)).double()
    function = batch_hard if mining == "batch_hard" else semi_hard
    return function(distances, y @ y.T > 0, margin), torch.tensor(losses, dtype=torch.float64).mean()


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
@pytest.mark.parametrize("ways", [WAYS, [0, 1, 2, 3], [0, 0, 0, 1], [0, 1] * 8])
def test_triplets_against_all_triples(ways: list[int], mining: str) -> None:
    torch.testing.assert_close(*mined(ways, mining))


def test_an_anchor_is_its_own_positive_only_where_it_is_alone() -> None:
    y = F.one_hot(torch.tensor([0, 0, 1]))
    expected = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert torch.equal(positives(y @ y.T > 0), expected.bool())


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
def test_triplet_compare_and_loss_against_a_loop(task: SimpleNamespace, mining: str) -> None:
    algorithm = Triplet(Flat(5), mining=mining, margin=0.5, finetune_lr=0.1, batch_norm="running")
    batch = batch_of(task)
    output = algorithm.loss(batch)
    losses = []
    for t, logits in zip(batch.tasks(), output.logits, strict=True):
        z, y = torch.cat([t.support_x, t.query_x]), torch.cat([t.support_y, t.query_y])
        if mining == "semi_hard":
            z = torch.stack([row / row.square().sum().sqrt() for row in z])
        power = 1 if mining == "batch_hard" else 2
        distances = torch.stack([torch.stack([(a - b).square().sum().sqrt() ** power for b in z]) for a in z])
        losses.append((batch_hard if mining == "batch_hard" else semi_hard)(distances, y @ y.T > 0, 0.5))
        for q, way in itertools.product(range(4), range(3)):
            mean = z[:7][t.support_y.argmax(1) == way].mean(0)
            distance = (z[7 + q] - mean).square().sum().sqrt() ** power
            torch.testing.assert_close(logits[q, way], -distance)
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
def test_pairs_are_more_similar_the_nearer_they_are(task: SimpleNamespace, mining: str) -> None:
    algorithm = Triplet(Flat(5), mining=mining, margin=0.5, finetune_lr=0.1, batch_norm="running")
    rows = (task.support_z[:4], task.query_z)
    similarities = algorithm.similarity(*rows)
    if mining == "semi_hard":
        rows = tuple(torch.stack([row / (row @ row).sqrt() for row in of_pair]) for of_pair in rows)
    for a, b, similarity in zip(*rows, similarities, strict=True):
        torch.testing.assert_close(similarity, -(a - b) @ (a - b))


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
def test_images_are_embedded_once_unless_the_weights_move(mining: str) -> None:
    algorithm = Triplet(
        Conv4([1, 16, 16], channels=4), mining=mining, margin=1.0, finetune_lr=0.1, batch_norm="running"
    )
    algorithm.eval()
    assert algorithm.embeds_each_alone
    task = episode(tasks=1).tasks()[0]
    support_z, query_z = algorithm.embed_each(task.support_x), algorithm.embed_each(task.query_x)
    logits = algorithm.adapt(task.support_x, task.support_y)(task.query_x)
    torch.testing.assert_close(algorithm.compare(support_z, task.support_y, query_z), logits)
    algorithm.finetune_steps = 1
    assert not algorithm.embeds_each_alone


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
def test_identical_images_give_finite_gradients(mining: str) -> None:
    algorithm = Triplet(Conv4([1, 16, 16], channels=4), mining=mining, margin=1.0, finetune_lr=0.1, batch_norm="batch")
    batch = episode()
    alike = Episode(batch.support_x * 0, batch.support_y, batch.query_x * 0, batch.query_y)
    algorithm.loss(alike).loss.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in algorithm.parameters())


@pytest.mark.parametrize("shot", [1, 3])
@pytest.mark.parametrize("batch_norm", ["running", "support", "batch"])
@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
def test_finetuning_lowers_the_loss_of_the_support_set_and_leaves_the_weights(
    mining: str, batch_norm: str, shot: int
) -> None:
    torch.manual_seed(0)
    algorithm = Triplet(
        Conv4([1, 16, 16], channels=8),
        mining=mining,
        margin=2.0,
        finetune_steps=5,
        finetune_lr=0.01,
        batch_norm=batch_norm,
    ).double()
    batch = Episode(*(part.double() for part in episode(tasks=1, shot=shot)))
    for _ in range(20):
        algorithm.loss(batch)  # fills the running averages
    task = batch.tasks()[0]
    before = {name: value.clone() for name, value in algorithm.state_dict().items()}

    def support_loss(params: dict[str, Tensor]) -> float:
        z = algorithm.embed_by(params, task.support_x, algorithm.rows(track=False))
        return algorithm.triplet_loss(z, task.support_y).item()

    for training in (True, False):
        algorithm.train(training)
        with torch.no_grad():
            phi = algorithm.finetune(task.support_x, task.support_y)
            tuned = algorithm.adapt(task.support_x, task.support_y)(task.query_x)
        assert support_loss(phi) < support_loss(dict(algorithm.backbone.named_parameters()))
        assert not tuned.requires_grad
        assert all(torch.equal(value, before[name]) for name, value in algorithm.state_dict().items())
        torch.testing.assert_close(tuned, algorithm.adapt(task.support_x, task.support_y)(task.query_x))
        algorithm.finetune_steps = 0
        assert not torch.allclose(tuned, algorithm.adapt(task.support_x, task.support_y)(task.query_x))
        algorithm.finetune_steps = 5


def test_finetuning_moves_what_a_training_moves() -> None:
    backbone = Conv4([1, 16, 16], channels=4)
    settings = {"mining": "semi_hard", "margin": 2.0, "finetune_steps": 2, "finetune_lr": 0.1, "batch_norm": "running"}
    frozen, moved = (list(backbone.named_parameters())[index] for index in (0, -1))
    backbone.requires_grad_(False)
    with pytest.raises(ValueError, match="finetune_steps=2 has no weights .*: type backbone.freeze=false, or"):
        Triplet(backbone, **settings)
    moved[1].requires_grad_(True)
    algorithm = Triplet(backbone, **settings).eval()
    (task,) = episode(tasks=1, shot=3).tasks()
    phi = algorithm.finetune(task.support_x, task.support_y)
    assert torch.equal(phi[frozen[0]], frozen[1]) and not torch.equal(phi[moved[0]], moved[1])
