"""Relation Networks against naive loops over pairs, in float64."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from conftest import episode
from embedded_tasks import WAYS, Flat, batch_of, compare, mean_of_class, random_task
from torch.nn import functional as F

from metalearn.algorithms.relation import Relation
from metalearn.backbones.conv4 import Conv4
from metalearn.backbones.norm import BatchNorm
from metalearn.types import Episode


@pytest.fixture
def task() -> SimpleNamespace:
    return random_task()


@pytest.mark.parametrize(("map_shape", "features"), [((5, 1, 1), 4), ((2, 5, 7), 4), ((2, 2, 3), 4), ((2, 1, 4), 16)])
def test_relation_against_a_loop(map_shape: tuple[int, int, int], features: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(11, *map_shape, dtype=torch.float64, generator=generator)
    algorithm = Relation(Flat(*map_shape), channels=4, hidden=8, batch_norm="running").double().eval()
    module = algorithm.relation
    assert module.hidden.in_features == features
    for norm in (m for m in module.modules() if isinstance(m, BatchNorm)):
        norm.running_mean.normal_(generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
    y = F.one_hot(torch.tensor(WAYS), 3).double()
    logits = algorithm.compare(maps[:7].flatten(1), y, maps[7:].flatten(1))
    for q, way in itertools.product(range(4), range(3)):
        support = torch.stack([maps[i] for i in range(7) if WAYS[i] == way]).mean(0)
        x = torch.cat([support, maps[7 + q]])[None]  # (1, 2 C, H, W)
        for block in (module.first, module.second):
            x = F.conv2d(x, block.conv.weight, block.conv.bias, padding=1)
            norm = block.norm
            x = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()
            x = F.relu(x)
            if min(x.shape[2:]) > 1:
                x = F.max_pool2d(x, 2)
        hidden = F.relu(module.hidden.weight @ x.flatten() + module.hidden.bias)
        torch.testing.assert_close(logits[q, way], (module.score.weight @ hidden + module.score.bias)[0])


@pytest.mark.parametrize("batch_norm", ["running", "support", "batch"])
def test_relation_normalises_each_task_by_itself(task: SimpleNamespace, batch_norm: str) -> None:
    algorithm = Relation(Flat(5, 1, 1), channels=4, hidden=8, batch_norm=batch_norm).double()
    batch = batch_of(task)
    output = algorithm.loss(batch)
    expected = torch.stack([algorithm.compare(t.support_x, t.support_y, t.query_x) for t in batch.tasks()])
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(output.loss, (expected.sigmoid() - batch.query_y).square().mean())


def test_relation_moments_are_those_of_the_pairs_of_the_support_rows(task: SimpleNamespace) -> None:
    algorithm = Relation(Flat(5, 1, 1), channels=4, hidden=8, batch_norm="support").double().eval()
    seen = []
    algorithm.relation.first.norm.register_forward_hook(lambda module, args, out: seen.append((args, out)))
    compare(algorithm, task)
    (x, rows), out = seen[0]
    assert x.shape[0] == (7 + 4) * 3
    assert (rows.tasks, rows.support) == (1, 7 * 3)
    torch.testing.assert_close(out[: 7 * 3].mean((0, 2, 3)), torch.zeros(4, dtype=torch.float64))
    maps = algorithm.relation.first.conv
    means = [mean_of_class(task.support_z, way) for way in range(3)]
    naive = [maps(torch.cat([means[n], z])[None, :, None, None]) for z in task.support_z for n in range(3)]
    torch.testing.assert_close(x[: 7 * 3], torch.cat(naive))


def test_relation_with_cross_entropy(task: SimpleNamespace) -> None:
    algorithm = Relation(Flat(5, 1, 1), objective="cross_entropy", channels=4, hidden=8, batch_norm="running").double()
    batch = batch_of(task)
    output = algorithm.loss(batch)
    expected = -(output.logits.softmax(-1).log() * batch.query_y).sum(-1).mean()
    torch.testing.assert_close(output.loss, expected)


def test_the_running_averages_move_by_the_mean_over_the_tasks() -> None:
    batch = episode(tasks=2)
    together, first, second = (
        Relation(Conv4([1, 16, 16], channels=4), channels=4, hidden=8, batch_norm="running") for _ in range(3)
    )
    for task, algorithm in enumerate((first, second)):
        algorithm.load_state_dict(together.state_dict())
        algorithm.loss(Episode(*(part[task : task + 1] for part in batch)))
    together.loss(batch)
    for name, buffer in together.named_buffers():
        torch.testing.assert_close(buffer, (first.get_buffer(name) + second.get_buffer(name)) / 2)


@pytest.mark.parametrize("batch_norm", ["running", "support", "batch"])
def test_a_class_seen_five_times_over_scores_as_it_does_seen_once(batch_norm: str) -> None:
    algorithm = Relation(Flat(5, 2, 2), channels=4, hidden=8, batch_norm=batch_norm).double().eval()
    support_z, query_z = torch.rand(3, 20).double(), torch.rand(6, 20).double()
    once = algorithm.compare(support_z, torch.eye(3).double(), query_z)
    often = algorithm.compare(support_z.repeat(5, 1), torch.eye(3).double().repeat(5, 1), query_z)
    torch.testing.assert_close(often, once)


@pytest.mark.parametrize(("size", "dead"), [(1, True), (3, True), (4, False), (7, False)])
def test_maps_on_which_weights_would_never_be_trained_are_warned_of(
    size: int, dead: bool, caplog: pytest.LogCaptureFixture
) -> None:
    algorithm = Relation(Flat(2, size, size), channels=3, hidden=8, batch_norm="running")
    algorithm.relate(torch.rand(1, 3, 2 * size**2), torch.eye(3)[None], torch.rand(1, 9, 2 * size**2)).sum().backward()
    kernels = [block.conv.weight.grad for block in (algorithm.relation.first, algorithm.relation.second)]
    assert any((kernel.abs().sum((0, 1)) == 0).any() for kernel in kernels) == dead
    assert (f"maps of {size}x{size}; ask the backbone for 4x4 at least" in caplog.text) == dead
