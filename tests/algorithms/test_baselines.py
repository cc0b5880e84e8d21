"""The baselines: their training data, and the heads that they fit."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.baseline import Baseline
from metalearn.algorithms.baseline_plus_plus import BaselinePlusPlus
from metalearn.algorithms.parts.heads import HeadFit
from metalearn.backbones.mlp import MLP
from metalearn.types import Episode

FIT = HeadFit(steps=30, lr=0.05, momentum=0.9, dampening=0.9, weight_decay=1e-3)


def task() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = F.one_hot(torch.arange(3).repeat(2), 3).double()
    z = y @ torch.randn(3, 6, generator=generator, dtype=torch.float64)
    z = z + 0.3 * torch.randn(z.shape, generator=generator, dtype=torch.float64)
    return z, y, torch.randn(4, 6, generator=generator, dtype=torch.float64)


def baseline() -> Baseline:
    return Baseline(MLP([6]), num_base_classes=7, head_fit=FIT, batch_norm="batch").double()


def plus_plus() -> BaselinePlusPlus:
    return BaselinePlusPlus(
        MLP([6]), num_base_classes=7, base_scale=10.0, novel_scale=2.0, head_fit=FIT, batch_norm="batch"
    ).double()


class CosineHead(nn.Module):
    """Cosines to directions, which start at the class means."""

    def __init__(self, z: Tensor, y: Tensor) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.stack([F.normalize(z[way > 0], dim=1).mean(0) for way in y.T]))

    def forward(self, z: Tensor) -> Tensor:
        return 2.0 * F.cosine_similarity(z[:, None], self.directions, dim=-1)


@pytest.mark.parametrize("make", [baseline, plus_plus])
def test_the_head_of_a_task_is_fitted_as_by_an_optimiser_on_a_module(make) -> None:
    z, y, queries = task()
    if make is plus_plus:
        head: nn.Module = CosineHead(z, y)
    else:
        head = nn.Linear(6, 3).double()
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    sgd = torch.optim.SGD(head.parameters(), 0.05, momentum=0.9, dampening=0.9, weight_decay=1e-3)
    for _ in range(30):
        sgd.zero_grad()
        F.cross_entropy(head(z), y).backward()
        sgd.step()
    with torch.no_grad():
        torch.testing.assert_close(make().compare(z, y, queries), head(queries))


@pytest.mark.parametrize("make", [baseline, plus_plus])
def test_heads_that_are_fitted_together_are_as_each_alone(make) -> None:
    algorithm, (z, y, queries) = make(), task()
    tasks = torch.stack([z, 2 * z.flip(1), z.square()]), y.expand(3, -1, -1), queries.expand(3, -1, -1)
    for found, *alone in zip(algorithm.compare_all(*tasks), *tasks, strict=True):
        torch.testing.assert_close(found, algorithm.compare(*alone))


def test_training_scores_the_base_classes_by_scaled_cosines() -> None:
    algorithm, x = plus_plus(), torch.randn(1, 4, 6, dtype=torch.float64)
    y = F.one_hot(torch.arange(4), 7).double()[None]
    loss, logits = algorithm.loss(Episode(x[:, :0], y[:, :0], x, y))
    z = algorithm.backbone(x[0], algorithm.rows())
    expected = 10 * F.cosine_similarity(z[:, None], algorithm.directions, dim=-1)
    torch.testing.assert_close(logits, expected[None])
    torch.testing.assert_close(loss, F.cross_entropy(expected, torch.arange(4)))


def test_without_steps_the_cosine_head_is_the_nearest_direction() -> None:
    algorithm = plus_plus()
    algorithm.head_fit = HeadFit(steps=0, lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0)
    z, y, queries = task()
    for query, logits in zip(queries, algorithm.compare(z, y, queries), strict=True):
        for way in range(3):
            mean = F.normalize(z[y[:, way] > 0], dim=1).mean(0)
            assert logits[way].item() == pytest.approx(2.0 * F.cosine_similarity(query, mean, dim=0).item())


@pytest.mark.parametrize("make", [baseline, plus_plus])
def test_fitting_lowers_the_loss_of_the_support_set(make) -> None:
    algorithm, (z, y, _) = make(), task()
    losses = []
    for steps in (0, 5, 50):
        algorithm.head_fit = HeadFit(steps=steps, lr=0.05, momentum=0.9, dampening=0.9, weight_decay=0.0)
        losses.append(F.cross_entropy(algorithm.compare(z, y, z), y).item())
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1] + 0.01


@pytest.mark.parametrize("name", ["baseline", "baseline_plus_plus"])
def test_a_run_trains_on_all_base_classes_and_says_so(metalearn, name: str) -> None:
    # The baseline ignores this way.
    run = metalearn(f"algorithm={name}", "batch_size=16", "episode.train.way=500")
    assert run.code == 0, run.text
    assert run.result["batch_size"] == 16
    assert "16 images of all base classes per batch" in run.text
    head = "head.weight" if name == "baseline" else "directions"
    # Alphabets x characters.
    assert run.checkpoint()["state_dict"][f"algorithm.{head}"].shape[0] == 3 * 8


def test_a_batch_larger_than_the_data_is_refused(metalearn) -> None:
    run = metalearn("algorithm=baseline", "batch_size=100000")
    assert run.code == 2
    assert "batch_size is 100000; it must be 1 to 480, all base images" in run.text
    with pytest.raises(ValueError, match="head_fit.steps=-1 must be at least 0"):
        HeadFit(steps=-1, lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0)


def test_a_number_of_base_classes_that_is_not_that_of_the_data_is_refused(metalearn) -> None:
    run = metalearn("algorithm=baseline", "num_base_classes=23")
    assert run.code == 2
    assert "metalearn: num_base_classes=23, but training has 24 classes; leave it out\n" in run.text
    exact = metalearn("algorithm=baseline", "num_base_classes=24", "trainer.max_steps=2")
    assert exact.code == 0, exact.text
    checkpoint = f"checkpoint={exact.folder}/checkpoints/last.ckpt"
    other = metalearn("mode=test", checkpoint, "num_base_classes=7", small=False)
    assert other.code == 2
    assert "num_base_classes=7, but training has 24 classes" in other.text


@pytest.mark.parametrize("make", [baseline, plus_plus])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_head_is_fitted_in_float32_under_autocast_too(make, dtype: torch.dtype) -> None:
    z, y, queries = (part.to(torch.bfloat16).float() for part in task())
    algorithm = make().float()
    expected = algorithm.compare(z, y, queries)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(algorithm.compare(z.to(dtype), y, queries.to(dtype)), expected)
